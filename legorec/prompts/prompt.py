"""Clicks and candidates -> rows of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from legorec.batch import ClickBatch, TokenBatch
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.nn.row_places import row_places
from legorec.prompts.checks import check_answers, check_room, check_segments
from legorec.prompts.history import ShownClicks, kept_clicks
from legorec.prompts.pieces import Pieces, TokenPool
from legorec.prompts.segments import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    OfItems,
    ResponseSegment,
    Segment,
    TextSegment,
    UserSegment,
)
from legorec.prompts.vocabulary import PromptVocabulary

LossOn = Literal["answer", "all"]


class Prompt:
    """One row of tokens for each candidate of a batch of clicks.

    Every text is tokenized when the prompt is made, items by their fields as the store holds them, so that a
    batch is gathered without a tokenizer. Rows that would be longer than ``max_length`` lose their oldest
    clicks; instruction, summary, candidate, cue and answer are never cut.

    Args:
        segments: in order; the last may be the answer.
        items: the tokens of every item, by the templates that the segments name.
        users: the tokens of every user, by the fields that the segments name; None where there are none.
        histories: the stored clicks, cut as the batches are; ``marks`` stand beside them.
        mark_names: what the marks mean.
        max_length: tokens of a row, with the longer of the two answers.
        loss_on: what is learned: the answer or the response, or every token
            but the first.

    Raises:
        ValueError: segments are named twice, there is no candidate, a mark does not exist, answers begin with
            the same token, or what is never cut is longer than ``max_length``.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        vocabulary: PromptVocabulary,
        items: Mapping[str, Ragged],
        histories: Histories,
        *,
        users: Mapping[str, Ragged] | None = None,
        marks: np.ndarray | None = None,
        mark_names: Sequence[str] = (),
        max_length: int = 512,
        loss_on: LossOn = "answer",
    ) -> None:
        check_segments(segments, mark_names)
        self.segments, self.vocabulary, self.histories = tuple(segments), vocabulary, histories
        self.max_length, self.loss_on = max_length, loss_on
        self._marks = marks if marks is not None else np.zeros(len(histories.clicks), dtype=np.uint8)
        self._pool = TokenPool()
        self._texts: dict[str, tuple[int, int]] = {}
        self._items: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._users: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._clicks: list[tuple[HistorySegment, ShownClicks]] = []
        self._answers: list[tuple[int, int]] = []  # negative, positive
        self._blank = 0  # tokens that both begin with and that show nothing
        for part in self.segments:
            if isinstance(part, TextSegment):
                self._texts[part.name] = self._literal(part.text)
            elif isinstance(part, AnswerSegment):
                self._answers = [self._literal(text) for text in (part.negative, part.positive)]
            elif isinstance(part, ItemSegment | ResponseSegment):
                self._items[part.name] = self._pool.add_rows(items[part.template])
            elif isinstance(part, UserSegment):
                self._users[part.name] = self._of_users(part, users or {})
            else:
                places = self._pool.add_rows(items[part.template])
                between, none = self._literal(part.separator), self._literal(part.empty)
                numbers = tuple(list(mark_names).index(mark) for mark in part.marks)
                self._clicks.append((part, ShownClicks(*places, between, none, numbers)))
        self._check()

    @property
    def answer(self) -> AnswerSegment | None:
        """Which of two texts the model is to say, if it is asked that."""
        return self.segments[-1] if isinstance(self.segments[-1], AnswerSegment) else None

    @property
    def response(self) -> ResponseSegment | None:
        """What the model is to say in free text, if it is asked that."""
        return self.segments[-1] if isinstance(self.segments[-1], ResponseSegment) else None

    @property
    def said(self) -> str | None:
        """The segment that the model is to say: the answer or the response."""
        last = self.answer or self.response
        return None if last is None else last.name

    def items_of(self, name: str) -> Ragged:
        """The tokens of every item, as the segment of that name has them."""
        starts, lengths = self._items[name]
        return Ragged.from_lengths(self._pool.values[row_places(starts, lengths)], lengths)

    @property
    def answer_ids(self) -> tuple[int, int] | None:
        """The first token of the positive and of the negative answer, after a blank that both begin with.

        None where the prompt asks for no such answer.
        """
        if not self._answers:
            return None
        negative, positive = (int(self._pool.values[start + self._blank]) for start, _ in self._answers)
        return positive, negative

    def __call__(
        self, batch: ClickBatch, answered: bool = True, marks_BH: np.ndarray | None = None
    ) -> TokenBatch:
        """Rows of tokens: candidate after candidate of each example, masked ones left out.

        Args:
            answered: end with the answer that the label asks for, or with the response; False: end where the
                model is to say it. A blank that both answers begin with, a token of its own for some
                tokenizers, stands there too.
            marks_BH: of the clicks, in place of those that are stored for the batch's spans.
        """
        example, column = np.nonzero(batch.candidate_mask.numpy())
        num_rows = len(example)
        candidates = batch.items.numpy()[batch.candidates.numpy()[example, column]]
        pieces = self._fixed(candidates, batch.user.numpy()[example])
        labels = batch.labels.numpy()[example, column]
        clicked, _, kept = self._clicked(batch, example, pieces, marks_BH)
        for (part, shown), chosen in zip(self._clicks, kept, strict=True):
            pieces[part.name] = shown.pieces(clicked, chosen)
        if not answered and self.response is not None:
            del pieces[self.response.name]
        if answered and self.answer is not None:
            chosen = np.array(self._answers)[(labels > 0.5).astype(np.int64)]
            pieces[self.answer.name] = Pieces.once(num_rows, chosen[:, 0], chosen[:, 1])
        elif self.answer is not None and self._blank:
            pieces[self.answer.name] = Pieces.once(num_rows, self._answers[0][0], self._blank)
        ordered = {part.name: pieces[part.name] for part in self.segments if part.name in pieces}
        rows = self._pool.rows(list(ordered.values()), num_rows)
        spans = _spans(ordered, num_rows)
        return TokenBatch(
            tokens=torch.from_numpy(rows.values.astype(np.int64)),
            lengths=torch.from_numpy(rows.lengths),
            learned=torch.from_numpy(self._learned(rows, spans, answered)),
            spans={name: torch.from_numpy(span) for name, span in spans.items()},
            group=batch.group[torch.from_numpy(example)],
            label=torch.from_numpy(labels),
            number=batch.number,
            item=torch.from_numpy(candidates),
        )

    def clicks_shown(self, batch: ClickBatch) -> dict[str, np.ndarray]:
        """Of each segment of clicks: (R, 2) how many stand in a row, and how many would with more room."""
        example, column = np.nonzero(batch.candidate_mask.numpy())
        candidates = batch.items.numpy()[batch.candidates.numpy()[example, column]]
        fixed = self._fixed(candidates, batch.user.numpy()[example])
        _, wanted, kept = self._clicked(batch, example, fixed, None)
        counts = [np.stack([mine.sum(1), own.sum(1)], axis=1) for mine, own in zip(kept, wanted, strict=True)]
        return {part.name: count for (part, _), count in zip(self._clicks, counts, strict=True)}

    def _fixed(self, candidates: np.ndarray, user: np.ndarray) -> dict[str, Pieces]:
        """What is never cut, but the answer, of the candidate and the user of each row."""
        pieces = {name: Pieces.once(len(candidates), *place) for name, place in self._texts.items()}
        for name, (starts, lengths) in self._items.items():
            pieces[name] = Pieces.once(len(candidates), starts[candidates], lengths[candidates])
        for name, (starts, lengths) in self._users.items():
            row = np.minimum(user, len(starts) - 1)  # all users are one where nothing is known of any
            pieces[name] = Pieces.once(len(candidates), starts[row], lengths[row])
        return pieces

    def _clicked(
        self,
        batch: ClickBatch,
        example: np.ndarray,
        fixed: Mapping[str, Pieces],
        marks_BH: np.ndarray | None,
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """The clicked items (R, H), and where those are that belong to each segment, and that stand there."""
        room = np.full(len(example), self.max_length - self._answer_length)
        for each in fixed.values():
            room -= each.length
        clicked = batch.items.numpy()[batch.history.numpy()][example]
        if marks_BH is None:
            marks_BH = self.histories.beside(self._marks, batch.span.numpy())
        seen, marks = batch.history_mask.numpy()[example], marks_BH[example]
        wanted = [shown.belonging(part, seen, marks) for part, shown in self._clicks]
        return clicked, wanted, kept_clicks(self._clicks, clicked, seen, marks, room)

    @property
    def shows_marks(self) -> bool:
        """Whether marks of the clicks decide what stands in it."""
        return any(part.marks for part, _ in self._clicks)

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of the items, each once."""
        parts = (part for part in self.segments if isinstance(part, OfItems))
        return tuple(dict.fromkeys(part.template for part in parts))

    def with_more(self, items: Mapping[str, Ragged]) -> Prompt:
        """The same prompt where more items come after those that are there.

        Args:
            items: the tokens of these by template, as ``Prompt`` takes them.

        Raises:
            ValueError: one is longer than there is room for.
        """
        found = copy(self)
        found._pool = self._pool.copy()
        more = {template: found._pool.add_rows(rows) for template, rows in items.items()}
        found._items = {
            part.name: _joined(self._items[part.name], more[part.template])
            for part in self.segments
            if isinstance(part, ItemSegment | ResponseSegment)
        }
        found._clicks = []
        for part, shown in self._clicks:
            starts, lengths = _joined((shown.starts, shown.lengths), more[part.template])
            found._clicks.append((part, replace(shown, starts=starts, lengths=lengths)))
        found._check()
        return found

    def text(self, batch: TokenBatch, row: int) -> dict[str, str]:
        """The text of each segment of a row, for people to read."""
        begin = int(batch.ends[row] + 1 - batch.lengths[row])
        ids = batch.tokens.numpy()
        spans = {name: (begin + span[row]).tolist() for name, span in batch.spans.items()}
        return {name: self.vocabulary.decode(ids[start:stop]) for name, (start, stop) in spans.items()}

    def _learned(self, rows: Ragged, spans: Mapping[str, np.ndarray], answered: bool) -> np.ndarray:
        place = rows.places
        if self.loss_on == "all" or self.said is None:
            return np.flatnonzero(place > 0)
        if not answered:
            return np.empty(0, dtype=np.int64)
        start, stop = (np.repeat(each, rows.lengths) for each in spans[self.said].T)
        return np.flatnonzero((place >= np.maximum(start, 1)) & (place < stop))

    def _literal(self, text: str) -> tuple[int, int]:
        return self._pool.add(self.vocabulary.encode(text))

    def _of_users(self, part: UserSegment, users: Mapping[str, Ragged]) -> tuple[np.ndarray, np.ndarray]:
        """Where the text of each user lies; the last place, also found as -1, is that of an unknown one."""
        start, length = self._literal(part.empty)
        rows = users[part.field] if part.field is not None else Ragged.from_lists([[]])
        rows = rows if part.budget is None else rows.first(part.budget)
        starts, lengths = self._pool.add_rows(rows)
        none = lengths == 0
        starts, lengths = np.where(none, start, starts), np.where(none, length, lengths)
        return np.append(starts, start), np.append(lengths, length)

    @property
    def _answer_length(self) -> int:
        return max((length for _, length in self._answers), default=0)

    def _check(self) -> None:
        if self.answer is not None:
            values = self._pool.values
            negative, positive = (values[start : start + length] for start, length in self._answers)
            self._blank = check_answers(self.answer, positive, negative, self.vocabulary.decode)
        fixed = self._answer_length + sum(length for _, length in self._texts.values())
        fixed += sum(shown.empty[1] for _, shown in self._clicks)
        fixed += sum(int(lengths.max()) for _, lengths in self._users.values())
        longest = sum(int(lengths.max(initial=0)) for _, lengths in self._items.values())
        check_room(fixed, longest, self.max_length)


def _joined(
    first: tuple[np.ndarray, np.ndarray], more: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of both."""
    return np.concatenate([first[0], more[0]]), np.concatenate([first[1], more[1]])


def _spans(pieces: Mapping[str, Pieces], num_rows: int) -> dict[str, np.ndarray]:
    """(R, 2) start and stop of each segment within its row."""
    spans, stop = {}, np.zeros(num_rows, dtype=np.int64)
    for name, piece in pieces.items():
        start, stop = stop, stop + piece.lengths(num_rows)
        spans[name] = np.stack([start, stop], axis=1)
    return spans
