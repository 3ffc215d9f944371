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
from legorec.registry.signatures import UNREAD, FieldType, Parameter

__all__ = [
    "KINDS",
    "OFFERED",
    "UNREAD",
    "Brick",
    "FieldType",
    "Kind",
    "Parameter",
    "RegistryError",
    "construct",
    "did_you_mean",
    "find",
    "load",
    "names",
    "nearest",
]
