"""A recorded log as a source of texts: nothing is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from legorec.texts.generator import GenerationParameters, TextAnswer, TextFailure, TextRequest
from legorec.texts.keys import answer_key


class Answers(Protocol):
    """Recorded answers by key."""

    def get(self, key: str) -> TextAnswer | None:
        """The answer under a key of ``answer_key``; None: there is none."""
        ...


class ReplayedTextGenerator:
    """Gives the answers that another generator once gave.

    Args:
        answers: the log.
        identity: of the generator that gave them.
        name: of the log, for messages.
    """

    def __init__(self, answers: Answers, identity: Mapping[str, Any], name: str = "the log") -> None:
        self._answers, self._identity, self._name = answers, dict(identity), name

    @property
    def identity(self) -> dict[str, Any]:
        """That of the generator whose answers they are: a replay has their keys."""
        return self._identity

    def count_tokens(self, request: TextRequest) -> int:
        """None are sent."""
        return 0

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        """See ``TextGenerator``; a request that was not recorded is a failure."""
        for request in requests:
            key = answer_key(self._identity, parameters, request)
            answer = self._answers.get(key)
            if answer is None:
                yield TextFailure(request, f"{self._name} holds no answer to it")
            else:
                yield replace(answer, request=request)  # two requests of one key may have other ids
