"""A source of texts that is made when it is first asked: where all answers are there no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from legorec.texts import GenerationParameters, TextAnswer, TextFailure, TextGenerator, TextRequest


class LazyGenerator:
    """A ``TextGenerator`` that is another one, from the first request on.

    Args:
        identity: of that one.
        make: makes it.
    """

    def __init__(self, identity: Mapping[str, Any], make: Callable[[], TextGenerator]) -> None:
        self._identity, self._make = dict(identity), make

    @cached_property
    def made(self) -> TextGenerator:
        """The one that answers."""
        made = self._make()
        assert dict(made.identity) == self._identity
        return made

    @property
    def identity(self) -> dict[str, Any]:
        return self._identity

    def count_tokens(self, request: TextRequest) -> int:
        """See ``TextGenerator``."""
        return self.made.count_tokens(request)

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        """See ``TextGenerator``."""
        return self.made.generate(requests, parameters)
