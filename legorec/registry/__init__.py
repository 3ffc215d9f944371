"""Which bricks there are and what their constructors take, read from source without importing it."""

from legorec.registry.bricks import (
    KINDS,
    OFFERED,
    Brick,
    Kind,
    RegistryError,
    construct,
    did_you_mean,
    find,
    load,
    names,
    nearest,
)
from legorec.registry.fits import EXTRAS, NUM_TENSORS, accepts, extras, gives, misfits, unknown_extras
from legorec.registry.signatures import UNREAD, FieldType, Parameter

__all__ = [
    "EXTRAS",
    "KINDS",
    "NUM_TENSORS",
    "OFFERED",
    "UNREAD",
    "Brick",
    "FieldType",
    "Kind",
    "Parameter",
    "RegistryError",
    "accepts",
    "construct",
    "did_you_mean",
    "extras",
    "find",
    "gives",
    "load",
    "misfits",
    "names",
    "nearest",
    "unknown_extras",
]
