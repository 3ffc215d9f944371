"""A generator that answers by a function, requests for it, and a run over them, for tests of what asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from legorec.texts import (
    GeneratedText,
    GenerationParameters,
    Message,
    TextAnswer,
    TextFailure,
    TextRequest,
)
from legorec.texts.answer_log import AnswerLog
from legorec.texts.asking import Asking, Outcome
from legorec.texts.budget import Budget
from legorec.texts.lookup import Lookup

GREEDY = GenerationParameters(max_tokens=20)
DRAWN = GenerationParameters(max_tokens=20, temperature=1.0, seed=7)


class Answering:
    """Answers each prompt; takes ``at_once`` requests before it gives the first answer.

    Args:
        answer: prompt and parameters -> the text, or a failure's reason as an exception.
    """

    def __init__(
        self,
        answer: Callable[[str, GenerationParameters], str] = lambda prompt, parameters: f"about {prompt}",
        at_once: int = 4,
        model: str = "fake",
    ) -> None:
        self.answer, self.at_once, self.model = answer, at_once, model
        self.asked: list[str] = []
        self.calls = self.most_at_once = 0
        self.closed = False

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "fake", "model": self.model}

    def count_tokens(self, request: TextRequest) -> int:
        return sum(len(message.content.split()) for message in request.messages)

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        self.calls += 1
        requests = iter(requests)
        try:
            while taken := list(itertools.islice(requests, self.at_once)):
                self.most_at_once = max(self.most_at_once, len(taken))
                for request in taken:
                    yield self._answered(request, parameters)
        finally:
            self.closed = True

    def _answered(self, request: TextRequest, parameters: GenerationParameters) -> TextAnswer | TextFailure:
        prompt = request.messages[-1].content
        self.asked.append(prompt)
        try:
            texts = [self.answer(prompt, parameters) for _ in range(parameters.num_texts)]
        except RuntimeError as reason:
            return TextFailure(request, str(reason))
        said = tuple(GeneratedText(text, -1.0, len(text.split())) for text in texts)
        count = sum(len(text.split()) for text in texts)
        return TextAnswer(request, said, self.count_tokens(request), count)


def asking_for(names: Iterable[str], template: str = "t@1") -> Callable[[], Iterator[TextRequest]]:
    """A request for each name, which is its id and its prompt; ``id=prompt`` tells them apart."""
    listed = list(names)

    def requests() -> Iterator[TextRequest]:
        for name in listed:
            id, _, prompt = name.partition("=")
            yield TextRequest(id, (Message("user", prompt or id),), template)

    return requests


def ask(
    path: Path,
    names: Iterable[str],
    generator: Any,
    parameters: GenerationParameters = GREEDY,
    budget: Budget | None = None,
    template: str = "t@1",
    lookup: dict[str, Any] | None = None,
    **options: Any,
) -> Outcome:
    """One run on a log, from its opening to its end."""
    with AnswerLog(path) as log:
        found = Lookup(generator, parameters, log, **(lookup or {}))
        return Asking(asking_for(names, template), found, budget, None, **options).run()
