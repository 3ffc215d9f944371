"""What generates texts, whatever it is; without torch, as an endpoint needs none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class AnswerFormat:
    """What an answer must look like: a JSON schema that it fits, or one of a closed list of texts."""

    schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.schema is None) == (not self.choices):
            raise ValueError("an answer's format is a `schema` or a list of `choices`: give one of the two")


@dataclass(frozen=True)
class GenerationParameters:
    """All that decides what is generated, each said: nothing is inherited from a checkpoint's own file.

    Args:
        max_tokens: of one text.
        temperature: 0 is greedy; then ``top_p``, ``top_k`` and ``seed`` decide nothing.
        top_p: tokens are drawn from the most probable ones whose probabilities add up to it; 1 takes all.
        top_k: 0 takes all tokens; not every endpoint knows another.
        repetition_penalty: of tokens of the prompt and the text so far (CTRL; Keskar et al., 2019, eq. 2); 1
            is none; not every endpoint knows another.
        stop: texts at which an answer ends; they are not part of it.
        num_texts: for each request.

    Raises:
        ValueError: a value is out of its range, or several texts are asked for that would all be the same.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    num_texts: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "repetition_penalty"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 0 and 0.0 are one key
        object.__setattr__(self, "stop", tuple(self.stop))
        for name, fits, rule in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < inf, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("repetition_penalty", 0 < self.repetition_penalty < inf, "above 0"),
            ("num_texts", self.num_texts >= 1, "at least 1"),
            ("stop", all(self.stop), "texts that are not empty"),
        ):
            if not fits:
                raise ValueError(f"`{name}` must be {rule}, got {getattr(self, name)!r}")
        if self.num_texts > 1 and self.temperature == 0:
            raise ValueError(
                f"`num_texts` is {self.num_texts}, but at `temperature` 0 all would be the same text; "
                "set a temperature, or num_texts: 1"
            )


@dataclass(frozen=True)
class TextRequest:
    """One prompt. ``id`` says what it is for (an item, a user) and is no part of what is asked."""

    id: str
    messages: tuple[Message, ...]
    template: str = ""  # name of the template that the messages were rendered from
    format: AnswerFormat | None = None


@dataclass(frozen=True)
class GeneratedText:
    """One text. ``log_probability`` is the sum over its tokens, where the source gives it.

    ``finished`` is false where the text was cut at ``max_tokens``.
    """

    text: str
    log_probability: float | None = None
    num_tokens: int | None = None
    finished: bool = True


@dataclass(frozen=True)
class TextAnswer:
    """The texts of one request, as they came. The counts are those that the source bills, if it says them."""

    request: TextRequest
    texts: tuple[GeneratedText, ...]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None  # of all texts, with tokens that are not shown


@dataclass(frozen=True)
class TextFailure:
    """A request that got no answer, or not all of its texts, however often it was sent."""

    request: TextRequest
    reason: str
    texts: tuple[GeneratedText, ...] = ()  # those that came


@runtime_checkable
class TextGenerator(Protocol):
    """A source of texts."""

    @property
    def identity(self) -> dict[str, Any]:
        """Which model this is, as plain JSON for the key of an answer; no secrets, no machine's paths."""
        ...

    def count_tokens(self, request: TextRequest) -> int:
        """Tokens of a prompt; about as many where the source cannot tell without asking."""
        ...

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        """An answer or a failure for each request, in the order in which they are done.

        A request is taken from the iterable only when its turn has come, so that whoever hands them in can
        stop at a budget; closing the iterator gives up what is under way.

        Raises:
            ValueError: nothing can be asked at all: no such endpoint, key, model, or parameter.
        """
        ...
