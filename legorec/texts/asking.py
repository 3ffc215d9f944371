"""Asking for what a log does not hold: within a budget, and again where an answer is of no use."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from legorec.texts.budget import Budget, Cost
from legorec.texts.generator import Message, TextAnswer, TextFailure, TextRequest
from legorec.texts.lookup import Found, Lookup, Requests
from legorec.texts.records import LoggedAnswer
from legorec.texts.rescue import rescue

DONE = 255  # in place of the number of the next attempt
GRACE = 10.0  # seconds for what is under way when a run is stopped
LOOK = 0.2  # seconds between two looks at what other runs have written
GONE = 5.0  # seconds after which another run may have ended without an answer
REASONS = 30  # of failures that are told apart


@dataclass
class Outcome:
    """What came of a run.

    Args:
        usable: requests with an answer that can be used, of this run or found in the log.
        found: of these, those that this run did not ask.
        asked: requests sent, each attempt for itself.
        answered: of these, with an answer of whatever kind.
        failed: requests without an answer that can be used, by reason.
        cut: texts that ended at ``max_tokens``.
        settled: requests that this run has brought to an end.
        given_up: requests under way when the run was stopped.
        estimated: answers whose tokens the generator did not say, so that they were counted here.
        stopped: why the run ended before all was asked.
    """

    usable: int = 0
    found: int = 0
    asked: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    settled: int = 0
    given_up: int = 0
    estimated: int = 0
    stopped: str | None = None


@dataclass(frozen=True)
class _Sent:
    """A request under way."""

    position: int  # among the requests
    request: TextRequest
    attempt: int
    key: str
    cost: Cost


class Asking:
    """One run over all requests. What it holds in memory is a byte for each, and those under way.

    Args:
        requests: called for each pass over them.
        outcome: what is counted in, for whoever wants to see it on the way.
        stop: asked before each request whether to hand in no more; those under way are waited for.
        advanced: called after each answer or failure.

    Several runs on one log share the work: what one of them asks for, the others leave to it, and read its
    answer in the log.
    """

    def __init__(
        self,
        requests: Requests,
        lookup: Lookup,
        budget: Budget | None = None,
        outcome: Outcome | None = None,
        stop: Callable[[], bool] = lambda: False,
        advanced: Callable[[], None] = lambda: None,
    ) -> None:
        self._requests, self._lookup, self._log = requests, lookup, lookup.log
        self._budget = budget or Budget()
        self._stop, self._advanced = stop, advanced
        self.outcome = outcome or Outcome()
        self._next_attempt = bytearray()  # of each request
        self._under_way: dict[int, _Sent] = {}  # by the identity of their requests
        self._waiting: _Sent | None = None  # for what is under way to be settled
        self._unsaved: list[LoggedAnswer] = []
        self._refused: Exception | None = None  # by the disk
        self._stopped_at: float | None = None
        self._changes = 0

    def run(self) -> Outcome:
        """Ask until there is an answer or a failure for each request, or the run is stopped.

        Raises:
            OSError, ValueError: the log cannot be written; the message says where what was paid for is now.
            Exception: of the generator; all answers until then are in the log.
        """
        try:
            self._pass(0)
            while not self._is_over() and self._next_attempt.count(DONE) < len(self._next_attempt):
                before, size = self._changes, self._log.size()
                for attempt in sorted({*self._next_attempt} - {DONE}):
                    self._pass(attempt)
                if self._changes == before:
                    self._wait_for_others(size)
        finally:
            self.outcome.given_up += len(self._under_way)
            if self._refused is not None:
                self._raise_refused()
        return self.outcome

    def _pass(self, attempt: int) -> None:
        """Ask all that is open and at this attempt."""
        stream = self._to_ask(attempt)
        while (first := self._next(stream)) is not None:
            answers = self._lookup.generator.generate(
                self._feed(first, stream), self._lookup.parameters[attempt]
            )
            try:
                for each in answers:
                    self._take(each)
                    self._is_over()
                    if self._stopped_at is not None and time.monotonic() - self._stopped_at > GRACE:
                        return
            finally:
                with suppress(AttributeError):  # an iterator need not have it
                    answers.close()  # type: ignore[attr-defined]
            assert not self._under_way, "a generator answers all that it takes"

    def _to_ask(self, attempt: int) -> Iterator[_Sent]:
        """Requests to send; what the log holds is counted on the way."""
        for position, request in enumerate(self._requests()):
            if position == len(self._next_attempt):
                self._next_attempt.append(0)
            first = self._next_attempt[position]
            if self._is_over():
                return
            if first == DONE:
                continue
            found = self._lookup.find(request, first)
            if found.attempt is None:
                self._note_found(position, request, found)
                continue
            self._set(position, found.attempt)
            key = self._lookup.key(request, found.attempt)
            if found.attempt == attempt and self._log.claim(key):
                yield _Sent(position, request, attempt, key, self._lookup.cost(request))

    def _note_found(self, position: int, request: TextRequest, found: Found) -> None:
        self._set(position, DONE)
        if found.answer is None:
            self._fail(f"of no use: {found.problem}")
            return
        self.outcome.usable += 1
        self.outcome.found += 1
        self._count_cut(found.answer)
        if found.answer.id != request.id:
            self._keep(found.answer, shared_with=request.id)

    def _feed(self, first: _Sent, stream: Iterator[_Sent]) -> Iterator[TextRequest]:
        each: _Sent | None = first
        while each is not None:
            self._under_way[id(each.request)] = each
            self._budget.reserve(each.position, each.cost)
            self.outcome.asked += 1
            yield each.request
            each = self._next(stream)

    def _next(self, stream: Iterator[_Sent]) -> _Sent | None:
        """The next request that the budget allows; None where there is none for now."""
        if self._is_over():
            return None
        each, self._waiting = self._waiting or next(stream, None), None
        if each is None or self._is_over():
            return None
        if self._budget.refuses(each.cost) is None:
            return each
        why = self._budget.refuses(each.cost, with_reserved=False)
        if why is None:  # what is under way may cost less than it was counted as
            self._waiting = each
            return None
        self._log.release(each.key)
        self.outcome.stopped = f"the budget is {why}"
        return None

    def _take(self, result: TextAnswer | TextFailure) -> None:
        sent = self._under_way.pop(id(result.request))
        about = {"key": sent.key, "attempt": sent.attempt, "generator": self._lookup.identity}
        record = LoggedAnswer(sent.request.id, sent.request.template, result.texts, **about)  # type: ignore[arg-type]
        self._budget.settle(sent.position, self._cost_of(result, sent))
        if isinstance(result, TextFailure):
            self._keep(replace(record, failed=result.reason))
            self._set(sent.position, DONE)
            self._fail(result.reason)
        else:
            prompt, completion = result.prompt_tokens, result.completion_tokens
            self._take_answer(sent, replace(record, prompt_tokens=prompt, completion_tokens=completion))
        self._log.release(sent.key)
        self.outcome.settled += self._next_attempt[sent.position] == DONE
        self._advanced()

    def _take_answer(self, sent: _Sent, answer: LoggedAnswer) -> None:
        self._keep(answer)
        self.outcome.answered += 1
        self._count_cut(answer)
        problem = self._lookup.problem(sent.request, answer.texts)
        if problem is None:
            self.outcome.usable += 1
            self._set(sent.position, DONE)
        elif sent.attempt + 1 < self._lookup.attempts:
            self._set(sent.position, sent.attempt + 1)
        else:
            reason = f"of no use: {problem}"
            self._keep(replace(answer, texts=(), failed=reason))
            self._set(sent.position, DONE)
            self._fail(reason)

    def _cost_of(self, result: TextAnswer | TextFailure, sent: _Sent) -> Cost:
        """Tokens that are billed, counted here where the generator does not say them."""
        if isinstance(result, TextFailure) and not result.texts:
            return Cost(0, 0)
        prompt, completion = None, None
        if isinstance(result, TextAnswer):
            prompt, completion = result.prompt_tokens, result.completion_tokens
        if completion is None:
            counts = [each.num_tokens for each in result.texts]
            completion = sum(each for each in counts if each is not None) if None not in counts else None
        self.outcome.estimated += prompt is None or completion is None
        if completion is None:
            count = self._lookup.generator.count_tokens
            said = [TextRequest("", (Message("assistant", each.text),)) for each in result.texts]
            completion = sum(map(count, said))
        return Cost(sent.cost.prompt if prompt is None else prompt, completion)

    def _keep(self, record: LoggedAnswer, shared_with: str | None = None) -> None:
        """Put a record into the log, or aside where the disk does not take it."""
        try:
            if shared_with is None:
                self._log.append(record)
            else:
                self._log.share(record, shared_with)
        except (OSError, ValueError) as problem:
            self._refused = self._refused or problem
            self._unsaved += [record] if shared_with is None else []

    def _raise_refused(self) -> None:
        """Say where the answers are that the log did not take."""
        assert self._refused is not None
        for each in [*self._unsaved]:  # there may be room by now
            self._unsaved.pop(0)
            try:
                self._log.append(each)
            except (OSError, ValueError):
                self._unsaved.append(each)
        rest = [self._log.masked(each) for each in self._unsaved if each.texts]
        where = (
            rescue(rest, self._log.path) if rest else "all that was paid for is there; make room and go on"
        )
        kind = OSError if isinstance(self._refused, OSError) else ValueError
        raise kind(f"{self._refused}; {where}") from None

    def _is_over(self) -> bool:
        if self._stopped_at is None and self._stop():
            self._stopped_at = time.monotonic()
            self.outcome.stopped = self.outcome.stopped or "asked to stop"
        return self.outcome.stopped is not None or self._refused is not None

    def _wait_for_others(self, size: int) -> None:
        """Until another run has written something since the log had a size, or may have ended."""
        began = time.monotonic()
        while self._log.size() == size and time.monotonic() - began < GONE and not self._is_over():
            time.sleep(LOOK)

    def _set(self, position: int, attempt: int) -> None:
        self._changes += self._next_attempt[position] != attempt
        self._next_attempt[position] = attempt

    def _fail(self, reason: str) -> None:
        known = reason in self.outcome.failed or len(self.outcome.failed) < REASONS
        self.outcome.failed[reason if known else "other reasons"] += 1

    def _count_cut(self, answer: LoggedAnswer) -> None:
        self.outcome.cut += sum(not text.finished for text in answer.texts)
