"""The ``model`` layer of CALRec: a prompted language model that says the next item, aligned by contrast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from legorec.settings.prompted import LanguageModelSettings, PromptSettings
from legorec.settings.retrieval import RetrievalSettings
from legorec.settings.schema import SuggestedSettings
from legorec.settings.values import Positive, SafeName, Strict, Text

Weight = Annotated[float, Field(ge=0, lt=1)]


class AlignmentSettings(Strict):
    """The losses, see ``legorec.objectives.contrast.calrec``, and the width of the heads after the means."""

    alpha: Weight = 0.125
    beta: Weight = 0.025
    temperature: Annotated[float, Field(gt=0)] = 0.5
    similarity: Literal["cosine", "dot"] = "cosine"
    direction: Literal["a", "b", "both"] = "b"
    per: Literal["examples", "tokens"] = "examples"
    project_dim: Positive | None = None
    chunk: Positive | None = None

    @model_validator(mode="after")
    def _leave_some(self) -> AlignmentSettings:
        if self.alpha + self.beta >= 1:
            raise ValueError(
                "`alpha` and `beta` must add up to less than 1, which leaves a weight for the language loss, "
                f"got {self.alpha:g} and {self.beta:g}"
            )
        return self


class CALRecSettings(Strict):
    """The ``model`` layer of CALRec; ``start`` is a run whose weights training begins with."""

    family: Literal["calrec"]
    name: SafeName
    suggested: SuggestedSettings | None = None
    language_model: LanguageModelSettings
    prompt: PromptSettings
    alignment: AlignmentSettings = AlignmentSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    start: Text | None = None

    @model_validator(mode="after")
    def _says_an_item(self) -> CALRecSettings:
        if self.prompt.segments[-1].response is None:
            raise ValueError("`prompt.segments` must end with the target: a segment with `response`")
        if self.prompt.loss_on != "answer":
            raise ValueError("`prompt.loss_on` must be answer: the target is what is learned")
        return self
