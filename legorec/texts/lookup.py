"""Which answers a log already holds to the requests of a run, and what is left to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from legorec.texts.answer_log import AnswerLog
from legorec.texts.budget import Cost, Prices
from legorec.texts.generator import GeneratedText, GenerationParameters, TextGenerator, TextRequest
from legorec.texts.keys import answer_key
from legorec.texts.records import LoggedAnswer

MOST_ATTEMPTS = 100
Requests = Callable[[], Iterable[TextRequest]]  # the same ones, in the same order, at every call
Check = Callable[[TextRequest, str], str | None]  # what is wrong with a text; None: it can be used


def not_empty(request: TextRequest, text: str) -> str | None:
    """The check of whoever has no other."""
    return None if text.strip() else "it is empty"


@dataclass(frozen=True)
class Found:
    """What a log says of a request: an answer that can be used, or which attempt comes next, or a failure.

    Args:
        answer: one that can be used.
        attempt: the one to make next; None where there is an answer, or no further attempt.
        problem: what is wrong with the last answer there is.
        own: answers seen on the way that were asked for by this request, not by one with the same prompt.
    """

    answer: LoggedAnswer | None = None
    attempt: int | None = None
    problem: str | None = None
    own: int = 0


class Lookup:
    """Finds the answers to requests.

    Args:
        check: says what is wrong with a text. An answer can be used if one of its texts can.
        attempts: how often a request is asked at most while its answers cannot be used, each with the next
            seed.
    """

    def __init__(
        self,
        generator: TextGenerator,
        parameters: GenerationParameters,
        log: AnswerLog,
        check: Check = not_empty,
        attempts: int = 1,
    ) -> None:
        if not 1 <= attempts <= MOST_ATTEMPTS:
            raise ValueError(f"`attempts` must be from 1 to {MOST_ATTEMPTS}, got {attempts}")
        if attempts > 1 and parameters.temperature == 0:
            raise ValueError(
                f"`attempts` is {attempts}, but at `temperature` 0 the same answer would come again; set a "
                "temperature, or attempts: 1"
            )
        self.generator, self.log, self.check, self.attempts = generator, log, check, attempts
        self.identity = dict(generator.identity)
        seed = parameters.seed or 0
        again = [replace(parameters, seed=seed + attempt) for attempt in range(1, attempts)]
        self.parameters = [parameters, *again]

    def key(self, request: TextRequest, attempt: int) -> str:
        """Of the answer to one attempt."""
        return answer_key(self.identity, self.parameters[attempt], request)

    def find(self, request: TextRequest, first: int = 0) -> Found:
        """What the log holds of a request.

        Args:
            first: the attempt to begin with; those before it are known to be of no use.
        """
        problem, own = None, 0
        for attempt in range(first, self.attempts):
            answer = self.log.find(self.key(request, attempt), request.id)
            if answer is None:
                return Found(attempt=attempt, problem=problem, own=own)
            own += answer.id == request.id and not answer.shared
            problem = self.problem(request, answer.texts)
            if problem is None:
                return Found(answer=answer, own=own)
        return Found(problem=problem, own=own)

    def problem(self, request: TextRequest, texts: Iterable[GeneratedText]) -> str | None:
        """What is wrong with the first text, where none can be used."""
        problems = [self.check(request, each.text) for each in texts]
        return None if None in problems else next(iter(problems), "there is no text")

    def cost(self, request: TextRequest) -> Cost:
        """What an answer takes at most."""
        first = self.parameters[0]
        return Cost(self.generator.count_tokens(request), first.max_tokens * first.num_texts)


@dataclass(frozen=True)
class Waiting:
    """A prompt that cannot be asked yet.

    Args:
        request: with nothing in the place of the answers that it waits for.
        answers: how many these are; 0: they failed for good, and it is never asked.
    """

    request: TextRequest
    answers: int


@dataclass(frozen=True)
class Survey:
    """What a run has to do, counted without asking for anything.

    Args:
        requests: of the scheme.
        found: that have an answer in the log that can be used.
        failed: whose answers in the log cannot be used, however often they were asked.
        prompt_tokens: of those that are left, as the generator counts them.
        completion_tokens: of their answers at most.
        money: for both at most; None without prices.
        others: answers in the log that answer none of these requests.
    """

    requests: int
    found: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    others: int

    @property
    def to_ask(self) -> int:
        return self.requests - self.found - self.failed


def survey(
    requests: Callable[[], Iterable[TextRequest | Waiting]], lookup: Lookup, prices: Prices | None = None
) -> Survey:
    """Count what the log holds and what is left; memory does not grow with the requests.

    A prompt that waits for answers is counted as if each of them took all its tokens.
    """
    total = found = failed = matched = prompt = completion = 0
    for request in requests():
        total += 1
        if isinstance(request, Waiting):
            if not request.answers:
                failed += 1
                continue
            cost = lookup.cost(request.request)
            prompt += cost.prompt + request.answers * lookup.parameters[0].max_tokens
            completion += cost.completion
            continue
        seen = lookup.find(request)
        if seen.attempt is None:
            found, failed = found + (seen.answer is not None), failed + (seen.answer is None)
        else:
            cost = lookup.cost(request)
            prompt, completion = prompt + cost.prompt, completion + cost.completion
        matched += seen.own
    others = max(0, len(lookup.log) - matched)
    money = None if prices is None else prices.of(prompt, completion)
    return Survey(total, found, failed, prompt, completion, money, others)
