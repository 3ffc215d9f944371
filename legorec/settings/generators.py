"""What generates texts, and how: an endpoint, a local model or a recorded log, told apart by ``kind``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from legorec.settings.values import Count, Flag, Positive, Strict, Text

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _url(value: str) -> str:
    from legorec.texts.posting import check_url

    check_url(value)
    return value


class GenerationSettings(Strict):
    """All that decides a text, said in full; see ``legorec.texts.GenerationParameters``."""

    max_tokens: Positive = 256
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: Count = 0
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: list[Text] = []
    num_texts: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # servers take no larger ones

    @model_validator(mode="after")
    def _rules(self) -> GenerationSettings:
        from legorec.texts import GenerationParameters

        GenerationParameters(**self.model_dump())
        return self


class EndpointSettings(Strict):
    """A server that speaks the OpenAI protocol; see ``legorec.texts.endpoint``.

    The key itself is no setting: ``key_env`` names the variable of the environment that holds it.
    """

    # A wrong URL may hold a password, which pydantic would repeat.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["endpoint"] = "endpoint"
    base_url: Annotated[Text, AfterValidator(_url)]
    model: Text
    server: Literal["plain", "openai", "vllm", "llama.cpp", "ollama", "transformers"] = "plain"
    api: Literal["chat", "completions"] = "chat"
    key_env: Text | None = "OPENAI_API_KEY"
    structured: Flag = False
    log_probabilities: Flag = False
    extra_body: dict[str, Any] = {}
    revision: str = ""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 120.0
    retries: Annotated[int, Field(ge=0, le=100)] = 5
    longest_wait: Seconds = 600.0

    @model_validator(mode="after")
    def _rules(self) -> EndpointSettings:
        from legorec.texts.endpoint import EndpointTextGenerator

        EndpointTextGenerator(**self.model_dump(exclude={"kind"}))
        return self


class LocalModelSettings(Strict):
    """A causal language model in a folder; see ``legorec.texts.local``."""

    kind: Literal["local"] = "local"
    checkpoint: Text
    adapter: Text | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    chat: Literal["auto", "template", "plain"] = "auto"
    end_tokens: list[Text] = []
    structured: Flag = True
    token_budget: Positive = 8192
    window: Positive = 256


class ReplaySettings(Strict):
    """A log of answers, in place of the generator that once gave them."""

    kind: Literal["replay"] = "replay"
    log: Text
    of: Annotated[EndpointSettings | LocalModelSettings, Field(discriminator="kind")]


GeneratorSettings = Annotated[
    EndpointSettings | LocalModelSettings | ReplaySettings, Field(discriminator="kind")
]
