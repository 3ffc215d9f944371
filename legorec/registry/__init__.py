"""Which bricks there are and what their constructors take, read from source without importing it."""

from legorec.registry.annotations import FieldType, Parameter, unreadable
from legorec.registry.bricks import (
    Brick,
    RegistryError,
    construct,
    did_you_mean,
    find,
    load,
    names,
    nearest,
)
from legorec.registry.code import Code, find_code, load_code
from legorec.registry.fits import accepts, extras, gives, has_language_model, misfits, unknown_extras
from legorec.registry.kinds import EXTRAS, KINDS, NUM_TENSORS, Kind
from legorec.registry.outside import why_not, why_not_outside
from legorec.registry.rules import (
    asked,
    asks_too_much,
    needs_interests,
    reads_one_source,
    reads_whole_batch,
)
from legorec.registry.signatures import UNREAD

__all__ = [
    "EXTRAS",
    "KINDS",
    "NUM_TENSORS",
    "UNREAD",
    "Brick",
    "Code",
    "FieldType",
    "Kind",
    "Parameter",
    "RegistryError",
    "accepts",
    "asked",
    "asks_too_much",
    "construct",
    "did_you_mean",
    "extras",
    "find",
    "find_code",
    "gives",
    "has_language_model",
    "load",
    "load_code",
    "misfits",
    "names",
    "nearest",
    "needs_interests",
    "reads_one_source",
    "reads_whole_batch",
    "unknown_extras",
    "unreadable",
    "why_not",
    "why_not_outside",
]
