"""What is asked of a language model, and what it may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from legorec.settings.generators import GenerationSettings, GeneratorSettings
from legorec.settings.scheme import SchemeSettings
from legorec.settings.values import Positive, Strict, Text

Price = Annotated[float, Field(ge=0)]


class PriceSettings(Strict):
    """Prices of a million tokens, in whatever currency."""

    prompt: Price
    completion: Price


class BudgetSettings(Strict):
    """What one run may spend; null: there is no limit.

    A request counts as its prompt and ``max_tokens`` of each text before it is sent, and as what the
    generator says it took afterwards. ``money`` goes by ``prices``, which alone have it counted too.
    """

    requests: Positive | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    money: Annotated[float, Field(gt=0)] | None = None
    prices: PriceSettings | None = None

    @model_validator(mode="after")
    def _priced(self) -> BudgetSettings:
        if self.money is not None and self.prices is None:
            raise ValueError("`money` needs `prices`, as in {prompt: 0.15, completion: 0.6} a million tokens")
        return self


class GenerateSettings(Strict):
    """A run that asks for texts.

    Args:
        attempts: how often a request is asked at most while its answers cannot be parsed.
        log: the log of answers (.jsonl). What it holds is not asked again; several runs may share it.
    """

    scheme: SchemeSettings
    generator: GeneratorSettings
    parameters: GenerationSettings = GenerationSettings()
    budget: BudgetSettings = BudgetSettings()
    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    log: Annotated[Text, Field(pattern=r"\.jsonl$")]

    @model_validator(mode="after")
    def _other_answers(self) -> GenerateSettings:
        if self.attempts > 1 and self.parameters.temperature == 0:
            raise ValueError(
                f"`attempts` is {self.attempts}, but at `parameters.temperature` 0 the same answer would "
                "come again; set a temperature, or attempts: 1"
            )
        return self
