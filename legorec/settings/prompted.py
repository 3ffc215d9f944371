"""The ``model`` layer of a prompted language model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from legorec.settings.schema import SuggestedSettings
from legorec.settings.values import Count, FieldName, Flag, Positive, SafeName, Strict, Template, Text

# What is read beside each kind of segment.
READ: dict[str, tuple[str, ...]] = {
    "text": (),
    "item": (),
    "history": ("separator", "marks", "last", "budget", "empty"),
    "user": ("budget", "empty"),
    "answer": (),
    "response": (),
}


class SegmentSettings(Strict):
    """One segment of a prompt: ``text``, candidate (``item``), ``history``, ``user``, or what is said.

    What is said is an ``answer``, one of two, or a ``response`` in free text. ``item``, ``history`` and
    ``response`` are templates of an item's fields, ``user`` is the name of a user's field, or ``none``: then
    ``empty`` stands there for everybody; see ``legorec.prompts`` for the rest. With ``when: false`` the
    segment is left out, so that a flag can have it.
    """

    name: FieldName
    text: str | None = None
    item: Template | None = None
    history: Template | None = None
    user: FieldName | None = None
    answer: list[Text] | None = Field(default=None, min_length=2, max_length=2)
    response: Template | None = None
    separator: str = ", "
    marks: list[Text] = []
    last: Count | None = None
    budget: Positive | None = None
    empty: str = ""
    when: Flag = True

    @model_validator(mode="after")
    def _one_kind(self) -> SegmentSettings:
        given = [name for name in READ if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a segment is a `text`, an `item`, a `history`, a `user`, an `answer` ([yes, no]) or a "
                "`response`: give one of them"
            )
        fields = type(self).model_fields
        for name in sorted({each for names in READ.values() for each in names} - {*READ[given[0]]}):
            if getattr(self, name) != fields[name].default:  # saved settings hold the defaults
                kinds = " and ".join(f"`{kind}`" for kind, names in READ.items() if name in names)
                raise ValueError(f"`{name}` is read with {kinds} only, and this segment is of `{given[0]}`")
        return self

    @property
    def user_field(self) -> str | None:
        """The user's field that stands here, if one does."""
        return None if self.user == "none" else self.user


class PromptSettings(Strict):
    """The segments, in order, and how long the whole may be."""

    segments: list[SegmentSettings] = Field(min_length=1)
    max_length: Positive = 512
    loss_on: Literal["answer", "all"] = "answer"
    chat: Flag = False  # the segments are a user's turn in the chat template of the checkpoint


class AdapterSettings(Strict):
    """LoRA, see ``legorec.lm.lora``; with ``enabled: false`` the layers' own weights are tuned."""

    enabled: Flag = True
    r: Positive = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: list[Text] | None = None
    adapter: Text | None = None


class UntrainedSettings(Strict):
    """The sizes of a LLaMA without a checkpoint, all of whose weights are learned."""

    hidden_size: Positive = 32
    num_layers: Positive = 2
    heads: Positive = 2


class LanguageModelSettings(Strict):
    """The causal model: a ``checkpoint``, or one of given sizes from ``scratch``.

    The latter has no tokenizer of its own: ``data.text.tokenizer`` names one of the store's.
    """

    checkpoint: Text | None = None
    scratch: UntrainedSettings | None = None
    layer: int = 0
    dtype: Literal["fp32", "bf16"] = "fp32"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    gradient_checkpointing: Flag = False
    bits: Literal[8, 4] | None = None  # of the frozen linear layers; needs bitsandbytes
    shard: Flag = False  # several processes: each holds its share of the frozen weights
    lora: AdapterSettings = AdapterSettings()

    @model_validator(mode="after")
    def _one_model(self) -> LanguageModelSettings:
        if (self.checkpoint is None) == (self.scratch is None):
            raise ValueError("the model is a `checkpoint` or is made from `scratch`: give one of the two")
        if self.scratch is not None and self.lora.adapter is not None:
            raise ValueError(
                "`lora.adapter` is for a `checkpoint`; a model from `scratch` tunes all of itself"
            )
        frozen = self.checkpoint is not None and self.lora.enabled
        for name, given in (("shard", self.shard), ("bits", self.bits is not None)):
            if given and not frozen:
                raise ValueError(
                    f"`{name}` is for frozen weights, and here all are tuned: it needs a `checkpoint` and "
                    "`lora`"
                )
        if self.shard and self.bits is not None:
            raise ValueError("weights of few `bits` cannot be spread over processes: give `shard` or `bits`")
        return self


class PromptedSettings(Strict):
    """The ``model`` layer of a causal language model that answers prompts."""

    family: Literal["prompted"]
    name: SafeName
    suggested: SuggestedSettings | None = None
    language_model: LanguageModelSettings
    prompt: PromptSettings
    num_negatives: Annotated[int, Field(ge=0)] = 0
