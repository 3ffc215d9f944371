"""What is asked of a language model, and what it may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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


def _as_list(value: Any) -> Any:
    """One log is a list of one."""
    return [value] if isinstance(value, str) else value


class MergeSettings(Strict):
    """A run that merges answers into the store of the data layer; see ``legorec.texts.merging``.

    Args:
        log: the logs of answers; of a stage that generates, ``${stages.NAME}``.
        out: the store to write.
        scheme: the YAML file that the answers were asked by; null: the settings that lie beside the first
            log, as a run leaves them there.
        template: whose answers are taken; null: those of the scheme.
        ids: ``rows`` where the ids of the logs are rows of the store's table.
        max_missing: the share of answers whose id may be in no table.
    """

    log: Annotated[list[Text], BeforeValidator(_as_list), Field(min_length=1)]
    out: Text
    scheme: Text | None = None
    template: Text | None = None
    ids: Literal["raw", "rows"] = "raw"
    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.01


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
