"""The prompts of a scheme in rounds: those of a round may hold answers to those of the rounds before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from legorec.data.store import Store
from legorec.texts.asking import Outcome
from legorec.texts.generator import TextRequest
from legorec.texts.lookup import Lookup, Requests, Waiting
from legorec.texts.parsing import parse_answer
from legorec.texts.scheme import Blocks, Scheme
from legorec.texts.schemes import BLOCK, HISTORY, NUMBER, Line, counted, filled, request_maker, requests_of
from legorec.texts.training_histories import TrainingHistories

SUMMARY, SUMMARIES = "summary", "summaries"
NO_BLOCK = "no block has a summary"
ON_THE_WAY = "/block"  # after the template's name, of answers that are no user's last


# The text that came of a request: "" where it failed for good, None where it has no answer yet.
Answered = Callable[[TextRequest], str | None]
Round = Callable[[Answered], Iterator[TextRequest | Waiting]]


def rounds_of(scheme: Scheme, store: Store, train: str = "train") -> Sequence[Round]:
    """The rounds of a scheme, in order; one that has no ``blocks`` has a single round.

    A round gives the same prompts in the same order at every call, whatever was answered. The last prompt of
    each user has the template ``template_of(scheme)``, those before it the same with ``ON_THE_WAY``.

    Raises:
        StoreError: a field or the split is not in the store.
    """
    if scheme.blocks is None:
        requests_of(scheme, store, train)  # says at once what the store lacks
        return [lambda answered: requests_of(scheme, store, train)]
    users = _BlocksOfUsers(scheme, scheme.blocks, store, train)
    if scheme.blocks.combine == "hierarchical":
        return [partial(_each_block, users), partial(_merged, users)]
    return [partial(_updated, users, number) for number in range(users.most_blocks)]


def answers_in(lookup: Lookup, scheme: Scheme) -> Answered:
    """What a log says to a request of a scheme with ``blocks``, as its only field."""

    def answered(request: TextRequest) -> str | None:
        found = lookup.find(request)
        if found.attempt is not None:
            return None
        for each in found.answer.texts if found.answer is not None else ():
            parsed = parse_answer(scheme.answer, each.text)
            if parsed.problem is None:
                return str(next(iter(parsed.fields.values())))
        return ""

    return answered


@dataclass(frozen=True)
class Prompts:
    """The prompts of a scheme, round by round, with what the log says to them."""

    rounds: Sequence[Round]
    answered: Answered

    def all(self) -> Iterator[TextRequest | Waiting]:
        """Those of all rounds, as far as the answers go."""
        for each in self.rounds:
            yield from each(self.answered)

    def ask(self, ask: Callable[[Requests], Outcome]) -> None:
        """Ask round after round; what waits for an answer that did not come is left out."""
        for number in range(len(self.rounds)):
            outcome = ask(self._askable(number))
            if outcome.stopped is not None:
                return
            if never := self._failed_before(number):
                outcome.failed[NO_BLOCK] += never

    def _askable(self, number: int) -> Requests:
        """The prompts of a round that can be asked now: the same ones later, whatever is answered then."""
        one = partial(self.rounds[number], self.answered)
        # The first round waits for nothing.
        can = bytes(isinstance(each, TextRequest) for each in one()) if number else None

        def requests() -> Iterator[TextRequest]:
            for place, each in enumerate(one()):
                if isinstance(each, TextRequest) and (can is None or can[place]):
                    yield each

        return requests

    def _failed_before(self, number: int) -> int:
        """How many prompts of a round are never asked, since all that they would hold has failed."""
        one = self.rounds[number](self.answered) if number else ()
        return sum(isinstance(each, Waiting) and not each.answers for each in one)


@dataclass(frozen=True)
class _User:
    """One user: raw id, row of the store's table, and the text of each block, oldest first."""

    raw: str
    row: int
    blocks: list[str]


class _BlocksOfUsers:
    """The clicks of every user in blocks, and the prompts about them."""

    def __init__(self, scheme: Scheme, blocks: Blocks, store: Store, train: str) -> None:
        self._store, self.size, self.clicks = store, blocks.size, scheme.clicks
        self._first = Line(scheme.user, store, store.users, (HISTORY,))
        self._then = Line(blocks.then, store, store.users, (HISTORY, SUMMARY, SUMMARIES))
        self._line = blocks.line
        assert scheme.click is not None, "`blocks` go with it"
        self._click = Line(scheme.click, store, store.items, (NUMBER,))
        self._histories = TrainingHistories.of(scheme, store, train)
        self._request = request_maker(scheme)

    @property
    def most_blocks(self) -> int:
        """Of any user."""
        lengths = self._histories.clicks.lengths[self._histories.asked]
        longest = int(lengths.max(initial=0))
        return -(-min(longest, self.clicks or longest) // self.size)

    def __iter__(self) -> Iterator[_User]:
        for start in range(0, len(self._histories.asked), BLOCK):
            rows = self._histories.asked[start : start + BLOCK]
            shown = self._histories.clicks.take(rows)
            shown = shown if self.clicks is None else shown.last(self.clicks)
            lines = self._click.filled(shown.values, {NUMBER: counted(shown.places % self.size)})
            ends = shown.offsets.tolist()
            names = self._store.users.ids.take(rows)
            for raw, row, begin, end in zip(names, rows.tolist(), ends, ends[1:], strict=False):
                cuts = range(begin, end, self.size)
                yield _User(raw, row, ["\n".join(lines[at : min(at + self.size, end)]) for at in cuts])

    def block(self, user: _User, number: int, summary: str = "", last: bool = False) -> TextRequest:
        """The prompt of a block, with the summary of those before it if there is one."""
        line, given = (self._then, {SUMMARY: [summary]}) if summary else (self._first, {})
        return self._of(user, line, given | {HISTORY: [user.blocks[number]]}, last)

    def merge(self, user: _User, summaries: Sequence[str]) -> TextRequest:
        """The prompt that makes one summary of several."""
        numbers = counted(np.arange(len(summaries)))
        lines = filled(self._line, {SUMMARY: list(summaries), NUMBER: numbers}, len(summaries))
        return self._of(user, self._then, {SUMMARIES: ["\n".join(lines)]}, last=True)

    def _of(self, user: _User, line: Line, given: dict[str, list[str]], last: bool) -> TextRequest:
        (text,) = line.filled(np.array([user.row]), given)
        made = self._request(user.raw, text)
        return made if last else replace(made, template=made.template + ON_THE_WAY)


def _each_block(users: _BlocksOfUsers, answered: Answered) -> Iterator[TextRequest | Waiting]:
    for user in users:
        yield from (users.block(user, number) for number in range(len(user.blocks)))


def _merged(users: _BlocksOfUsers, answered: Answered) -> Iterator[TextRequest | Waiting]:
    """S = LLM(merge, S_1 ... S_N); a block without a summary is passed over."""
    for user in users:
        if not user.blocks:
            continue
        summaries = [answered(users.block(user, number)) for number in range(len(user.blocks))]
        request = users.merge(user, [each for each in summaries if each])
        missing = summaries.count(None)
        yield request if any(summaries) and not missing else Waiting(request, missing)


def _updated(users: _BlocksOfUsers, number: int, answered: Answered) -> Iterator[TextRequest | Waiting]:
    """S_k = LLM(update, S_k-1, block k), k = ``number`` + 1; a block without a summary is passed over."""
    for user in users:
        if number >= len(user.blocks):
            continue
        summary = ""
        said: str | None = ""
        for before in range(number):
            said = answered(users.block(user, before, summary))
            if said is None:
                break
            summary = said or summary
        request = users.block(user, number, summary, last=number + 1 == len(user.blocks))
        yield Waiting(request, 1) if said is None else request
