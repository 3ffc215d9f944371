"""A trained run of a prompted language model as an object that scores and recommends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from legorec.data.item_text import ItemText
from legorec.lm.answering import CausalModel
from legorec.nn.device import module_device
from legorec.prompts import Prompt
from legorec.recipes.inputs.asked_histories import asked_histories
from legorec.recipes.inputs.new_items import check_fields, tokens_of
from legorec.recipes.inputs.shown_items import Unknown, known_clicks, known_rows, shown_rows
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.bundle import Saves
from legorec.recipes.outputs.recommendations import lists_as_frame
from legorec.recipes.outputs.recommended import (
    Item,
    Recommendations,
    best_items,
    check_choice,
    check_count,
    check_real,
    checked,
    checked_user,
)
from legorec.recipes.ranked_histories import popular_list
from legorec.scorers.answer_pages import AnswerPages
from legorec.scorers.top_answers import one_user, scores_of_all
from legorec.sequences import listed, texts
from legorec.threads import after_fork


class _Clicked(NamedTuple):
    """A history as a batch of one has it, each (1, H)."""

    rows: np.ndarray
    mask: np.ndarray
    marks: np.ndarray


class TrainedPrompts(Saves):
    """Scores candidates for a history by prompts; items are raw ids, or the fields of new ones.

    Where the prompt shows how clicks were marked (liked, disliked), ``marks`` says it for each click of the
    history. A score is the log-odds of the positive answer.

    Args:
        model: with its weights.
        prompt: over the items of the store.
        data: the store's items, as the model was trained on them.
    """

    model: CausalModel

    def __init__(self, model: CausalModel, prompt: Prompt, data: Data) -> None:
        self.model, self.prompt, self.data = model, prompt, data

    def score(
        self,
        history: Sequence[Item],
        candidates: Sequence[Item],
        *,
        marks: Sequence[str] | None = None,
        user: str | None = None,
    ) -> np.ndarray:
        """One score a candidate, higher is better.

        Args:
            history: clicked items, oldest first; may be empty.
            marks: one for each of ``history``, by the names that the store has for them.
            user: raw id; a prompt reads nothing of who a user is.

        Raises:
            ValueError: a raw id is not in the store, a candidate is a generated item, a new item has a field
                that no prompt reads, or marks are missing or unknown.
        """
        after_fork(module_device(self.model))
        checked_user(user)
        history, candidates = checked(history, "history"), checked(candidates, "candidates")
        if not len(candidates):
            return np.zeros(0, dtype=np.float32)
        prompt, rows = self._numbered([*history, *candidates])
        shown = rows[len(history) :]
        known = np.array([isinstance(each, str) for each in candidates])
        check_real(self.data, candidates, np.where(known, shown, 0))
        clicked = self._clicked(rows[: len(history)], self._numbers(history, marks))
        with torch.inference_mode():
            batch = one_user(clicked.rows, clicked.mask, shown[None])
            return self._pages(prompt).scores(batch, clicked.marks).cpu().numpy()

    @property
    def candidate_rows(self) -> np.ndarray:
        """(n,) int64, the rows of what may be recommended, ascending: no generated items."""
        return np.arange(self.data.num_real)

    def rows_of(self, raw_ids: Iterable[str]) -> np.ndarray:
        """Rows (int64) of raw ids; -1 where one is not known."""
        return self.data.store.items.index(raw_ids)

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """The raw ids of rows, in an array of the same shape."""
        return self.data.store.items.names[rows]

    def recommend(
        self,
        histories: Any,
        k: int = 10,
        *,
        items: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        filter: Mapping[str, str | Sequence[str]] | None = None,
        marks: Sequence[Any] | None = None,
        user: str | None = None,
        users: Sequence[str | None] | None = None,
        include_history: bool = False,
        unknown: Unknown = "error",
    ) -> Any:
        """The ``k`` best items for one history or for many, as ``Recommends.recommend`` gives them.

        Every item that may be recommended has a prompt, whose common beginning is read once for a thousand of
        them; several histories are answered one after the other.

        Args:
            marks: one for each click of a history; of several histories, a list for each.

        Raises:
            ValueError: as ``score``, or ``k`` is below 1, or a field or category is none of the items.
        """
        after_fork(module_device(self.model))
        checked_user(user)
        check_count(k)
        check_choice(unknown, "unknown", ("error", "skip"))
        asked = asked_histories(histories, users)
        shown = shown_rows(self, items, exclude, filter)

        def best(history: Sequence[Item], own: Any) -> Recommendations:
            return self._best(history, k, shown, own, include_history, unknown)

        if asked.one:
            return best(asked.lists[0], marks)
        every = [list(each) for each in asked.lists]
        own_marks = [None] * len(every) if marks is None else listed(marks, "marks", "lists of marks")
        if len(own_marks) != len(every):
            raise ValueError(
                f"`marks` must be a list for each of {len(every)} histories, got {len(own_marks)}"
            )
        found = [best(checked(each, "history"), own) for each, own in zip(every, own_marks, strict=True)]
        return found if asked.names is None else lists_as_frame(found, asked.names)

    def similar_items(self, items: Any, k: int = 10, **how: Any) -> Any:
        """Raises ValueError: a prompted model has no vectors of items that could be alike."""
        raise ValueError(
            "a prompted model reads items as text and has no vectors of them; ask a model of two towers for "
            "similar items"
        )

    def _best(
        self,
        history: Sequence[Item],
        k: int,
        shown: np.ndarray,
        marks: Sequence[str] | None,
        include_history: bool,
        unknown: Unknown,
    ) -> Recommendations:
        known, skipped = known_clicks(self, history, unknown)
        if skipped and marks is not None:
            raise ValueError("unknown items are not skipped where `marks` are given; leave both out")
        popular = None if known.history else popular_list(self, shown, k, skipped)
        if popular is not None:
            return popular
        prompt, rows = self._numbered(known.history)
        clicked = self._clicked(rows, self._numbers(known.history, marks))
        with torch.inference_mode():
            pages = self._pages(prompt)
            scores = scores_of_all(pages, clicked.rows, clicked.mask, shown, marks_BH=clicked.marks)
            left_out = known.rows[:0] if include_history else known.rows
            found = best_items(self.ids_of, shown, scores, k, left_out)
        found.skipped = skipped
        return found

    def _pages(self, prompt: Prompt) -> AnswerPages:
        return AnswerPages(self.model, prompt)

    def _numbered(self, items: Sequence[Item]) -> tuple[Prompt, np.ndarray]:
        """A prompt that knows all of these items, and their rows there: new ones stand after the store's."""
        new: list[Any] = [item for item in items if not isinstance(item, str)]
        known = [item for item in items if isinstance(item, str)]
        is_new = np.array([not isinstance(item, str) for item in items], dtype=bool)
        rows = np.zeros(len(items), dtype=np.int64)
        rows[~is_new] = known_rows(self, known) if known else 0
        rows[is_new] = len(self.data.store.items) + np.arange(len(new))
        return (self._with_new(new) if new else self.prompt), rows

    def _with_new(self, items: Sequence[Any]) -> Prompt:
        text = self.data.reading(by_language_model=True).text
        assert text is not None, "a prompted model reads texts"
        encode = self.prompt.vocabulary.encode
        read = {
            each: ItemText(each, text.tokenizer, text.tokenizer_name, encode)
            for each in self.prompt.templates
        }
        check_fields(items, list(dict.fromkeys(name for each in read.values() for name in each.field_names)))
        return self.prompt.with_more({name: tokens_of(self.data, each, items) for name, each in read.items()})

    def _numbers(self, history: Sequence[Item], marks: Sequence[str] | None) -> np.ndarray:
        """(H,) the marks of a history as the store numbers them.

        Raises:
            ValueError: they are missing where the prompt shows them, too many or too few, or unknown.
        """
        names = list(self.data.store.mark_names)
        if marks is None:
            if history and self.prompt.shows_marks:
                raise ValueError(
                    "`marks` is needed, one for each item of `history`: the prompt shows which were "
                    f"{' or '.join(names)}"
                )
            return np.zeros(len(history), dtype=np.uint8)
        given = texts(marks, "marks", "marks")
        if len(given) != len(history):
            raise ValueError(f"`marks` must be one for each of {len(history)} clicks, got {len(given)}")
        for each in given:
            if each not in names:
                raise ValueError(f"`marks` must be {' or '.join(names) or 'left out'}, got {each!r}")
        return np.array([names.index(each) for each in given], dtype=np.uint8)

    def _clicked(self, rows: np.ndarray, marks: np.ndarray) -> _Clicked:
        """The latest clicks that the model is shown, at least one place, which may be masked."""
        limit = self.data.settings.history.max_length
        rows, marks = (rows[-limit:], marks[-limit:]) if limit else (rows, marks)
        if not len(rows):
            empty = np.zeros((1, 1), dtype=np.int64)
            return _Clicked(empty, empty > 0, empty.astype(np.uint8))
        return _Clicked(rows[None], np.ones((1, len(rows)), dtype=bool), marks[None])
