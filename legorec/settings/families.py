"""The families of models: one row for each value of ``model.family``.

All that depends on a family reads this table; nothing else compares the names.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from legorec.settings.aligned import AdaptedSettings, AlignedSettings
from legorec.settings.asked import AskedSettings
from legorec.settings.calrec import CALRecSettings
from legorec.settings.prompted import PromptedSettings
from legorec.settings.schema import TowerSettings


@dataclass(frozen=True)
class Family:
    """One family: a kind of recommender.

    Args:
        about: what it is made of, for messages and the docs.
        settings: the schema of its ``model`` layer.
        task: ``module:function`` below ``legorec.recipes``, called with the settings, the device and the
            processes, that returns its ``Task``.
        size: the module below ``legorec.recipes`` whose ``figures`` and ``show`` mode ``size`` calls;
            empty: there is none.
        served: ``module:function``, called with the settings, the device and the splits that are read, that
            returns what can be asked of a model with its weights (``legorec.recipes.inputs.served``); empty:
            nothing can.
        bricks: whether blocks of the model layer are bricks of the registry.
        zero_shot: whether its models may be measured without a trained run (``exp.load``).
    """

    name: str
    about: str
    settings: type[BaseModel]
    task: str
    size: str = ""
    served: str = ""
    bricks: bool = False
    zero_shot: bool = False


FAMILIES = {
    each.name: each
    for each in (
        Family(
            "tower",
            "an item encoder, a user encoder and a predictor",
            TowerSettings,
            "tower:tower",
            size="size",
            served="tower_served:tower_served",
            bricks=True,
        ),
        Family(
            "prompted",
            "a causal language model that answers a prompt",
            PromptedSettings,
            "prompted:prompted",
            size="prompted_size",
            served="prompted_served:prompted_served",
            zero_shot=True,
        ),
        Family(
            "adapted",
            "a language model adapted to the texts of items",
            AdaptedSettings,
            "adapted:adapted",
        ),
        Family(
            "aligned",
            "a language model whose texts are aligned to the fields of a click model",
            AlignedSettings,
            "aligned:aligned",
        ),
        Family(
            "asked",
            "a language model that is asked for its answers as texts, as it is",
            AskedSettings,
            "asked:asked",
            zero_shot=True,
        ),
        Family(
            "calrec",
            "a causal language model that says the next item, aligned by contrast",
            CALRecSettings,
            "calrec:calrec",
            zero_shot=True,
        ),
    )
}
DEFAULT_FAMILY = next(iter(FAMILIES))
