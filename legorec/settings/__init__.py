"""Typed settings of a run: ``read_command_line(sys.argv[1:])`` gives them or says all that is wrong."""

from legorec.compose import Problem, SettingsError, wants_help
from legorec.settings.exp_layer import EvaluationSettings, ExpSettings, PolicySettings
from legorec.settings.reading import read_command_line
from legorec.settings.resolved import Settings, describe
from legorec.settings.schema import (
    BrickSettings,
    DataSettings,
    EmbedSettings,
    FieldSettings,
    HistorySettings,
    ModelSettings,
    SplitSettings,
    TokenTableSettings,
)
from legorec.settings.stages import Stage, help_text, read_stages

__all__ = [
    "BrickSettings",
    "DataSettings",
    "EmbedSettings",
    "EvaluationSettings",
    "ExpSettings",
    "FieldSettings",
    "HistorySettings",
    "ModelSettings",
    "PolicySettings",
    "Problem",
    "Settings",
    "SettingsError",
    "SplitSettings",
    "Stage",
    "TokenTableSettings",
    "describe",
    "help_text",
    "read_command_line",
    "read_stages",
    "wants_help",
]
