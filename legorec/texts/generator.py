"""What generates texts, whatever it is; without torch, as an endpoint needs none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
        top_k: 0 takes all tokens; not every endpoint knows another.
        stop: texts at which an answer ends; they are not part of it.
        num_texts: for each request.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    num_texts: int = 1
    seed: int | None = None


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
    """The texts of one request, as they came."""

    request: TextRequest
    texts: tuple[GeneratedText, ...]
    prompt_tokens: int | None = None


@dataclass(frozen=True)
class TextFailure:
    """A request that got no answer, however often it was sent."""

    request: TextRequest
    reason: str


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
