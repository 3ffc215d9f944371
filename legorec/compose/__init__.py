"""Command line and YAML layers -> one tree with origins. Only ``references`` calls RefConfig."""

from legorec.compose.command_line import COMMAND_LINE, LAYERS, WORKER_FLAGS, wants_help
from legorec.compose.composition import DEFAULT, Composition, compose
from legorec.compose.problems import (
    MASK,
    UNRESOLVED,
    Problem,
    SettingsError,
    is_secret,
    without_credentials,
)
from legorec.compose.references import Read
from legorec.compose.saved import Saved, place_of
from legorec.compose.scalars import to_yaml

__all__ = [
    "COMMAND_LINE",
    "DEFAULT",
    "LAYERS",
    "MASK",
    "UNRESOLVED",
    "WORKER_FLAGS",
    "Composition",
    "Problem",
    "Read",
    "Saved",
    "SettingsError",
    "compose",
    "is_secret",
    "without_credentials",
    "place_of",
    "to_yaml",
    "wants_help",
]
