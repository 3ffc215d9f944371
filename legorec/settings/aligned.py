"""The ``model`` layers of language models that are trained on the texts of items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from legorec.settings.schema import SuggestedSettings
from legorec.settings.values import Count, Flag, SafeName, Strict, Text

Share = Annotated[float, Field(gt=0, lt=1)]
Temperature = Annotated[float, Field(gt=0)]


class WholeModelSettings(Strict):
    """A ``checkpoint`` whose own weights are tuned, but for the embeddings and ``frozen_layers`` if these are
    above 0."""

    checkpoint: Text
    frozen_layers: Count = 0
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"


class AdaptedSettings(Strict):
    """A language model adapted to the items' texts, see ``legorec.aligning.pretraining``.

    ``masked`` is the share of tokens that are masked, ``held_out`` the share of items that judge an epoch.
    """

    family: Literal["adapted"]
    name: SafeName
    suggested: SuggestedSettings | None = None
    language_model: WholeModelSettings
    masked: Share = 0.15
    masked_weight: Annotated[float, Field(ge=0)] = 0.1
    temperature: Temperature = 0.05
    held_out: Share = 0.05


class AlignedSettings(Strict):
    """Texts aligned to the frozen fields of the run ``fields_of``, see ``legorec.aligning.alignment``.

    ``weighting: popularity`` weighs items by log(1 + clicks in training); ``hottest`` is the share of items,
    those with most clicks, that are learned from, null all that training saw.
    """

    family: Literal["aligned"]
    name: SafeName
    suggested: SuggestedSettings | None = None
    language_model: WholeModelSettings
    fields_of: Text
    loss: Literal["info_nce", "mse", "bpr"] = "info_nce"
    temperature: Temperature = 1.0
    weighting: Literal["none", "popularity"] = "none"
    hottest: Share | None = None
    projects_fields: Flag = False
    held_out: Share = 0.2
