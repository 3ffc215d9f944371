"""Clicks and candidates -> the texts of prompts, for a model whose tokens are not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from legorec.batch import ClickBatch
from legorec.data.histories import Histories
from legorec.data.store import Store
from legorec.prompts.checks import check_segments
from legorec.prompts.segments import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    OfItems,
    Segment,
    TextSegment,
)
from legorec.texts.schemes import Line


class SpelledPrompt:
    """One text for each candidate of a batch of clicks, up to where the model is to answer.

    Relations: ``Prompt`` makes rows of tokens of the same segments, within a length; here the number of
    clicks alone is limited (``last``), and fields are cut at words.

    Args:
        segments: in order; the last is the answer, which is not part of the text.
        store: whose items are named, from their raw texts.
        histories: the stored clicks, cut as the batches are.

    Raises:
        ValueError: segments are wrong, or the prompt does not end with one of two answers whose first words
            tell them apart.
    """

    def __init__(self, segments: Sequence[Segment], store: Store, histories: Histories) -> None:
        check_segments(segments, store.mark_names)
        if not isinstance(segments[-1], AnswerSegment):
            raise ValueError("`prompt.segments` must end with an `answer`, [yes, no], which is asked for")
        self.segments, self.answer, self.histories = tuple(segments[:-1]), segments[-1], histories
        self._lines = {
            part.template: Line(part.template, store, store.items)
            for part in segments
            if isinstance(part, OfItems)
        }
        marks = store.marks
        self._marks = np.zeros(len(histories.clicks), dtype=np.uint8) if marks is None else np.asarray(marks)
        self._mark_names = store.mark_names

    def __call__(self, batch: ClickBatch) -> list[str]:
        """The texts, candidate after candidate of each example, masked ones left out."""
        items = batch.items.numpy()
        texts = {template: line.filled(items) for template, line in self._lines.items()}
        marks_BH = self.histories.beside(self._marks, batch.span.numpy())
        rows = []
        for example, column in zip(*np.nonzero(batch.candidate_mask.numpy()), strict=True):
            seen = batch.history_mask[example].numpy()
            clicks, marks = batch.history[example].numpy()[seen], marks_BH[example][seen]
            target = int(batch.candidates[example, column])
            rows.append("".join(self._said(part, texts, clicks, marks, target) for part in self.segments))
        return rows

    def _said(
        self,
        part: Segment,
        texts: Mapping[str, list[str]],
        clicks: np.ndarray,
        marks: np.ndarray,
        target: int,
    ) -> str:
        """What stands in one segment; clicks and target are places in the batch's items."""
        if isinstance(part, TextSegment):
            return part.text
        if isinstance(part, ItemSegment):
            return texts[part.template][target]
        assert isinstance(part, HistorySegment)
        if part.marks:
            clicks = clicks[np.isin(marks, [self._mark_names.index(name) for name in part.marks])]
        shown = clicks if part.last is None else clicks[-part.last :]
        return part.separator.join(texts[part.template][click] for click in shown) or part.empty
