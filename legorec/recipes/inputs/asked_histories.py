"""One history or many, as a list, a list of lists, or a frame with a column of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from legorec.data.layout import nearest
from legorec.data.writing.columns import list_parts
from legorec.recipes.outputs.recommended import Item, checked, checked_user
from legorec.sequences import are_texts, listed

HISTORY, USER, ROW = "history", "user", "row"


class Part(NamedTuple):
    """Some of the histories, end to end."""

    items: Sequence[Item] | pl.Series  # texts, where it is a column
    lengths: np.ndarray  # (n,) items of each history
    users: list[str | None] | None


@dataclass(frozen=True)
class AskedHistories:
    """Histories, and who they are of.

    Args:
        lists: each of them a list of items, or a column of lists of texts.
        users: raw ids, or None for strangers; None: of nobody.
        names: what the rows of the answer are called, where they were in a frame.
        one: a single history was given, as it is.
    """

    lists: list[Any] | pl.Series
    users: list[str | None] | None = None
    names: pl.Series | None = None
    one: bool = False

    def __len__(self) -> int:
        return len(self.lists)

    def parts(self, size: int) -> Iterator[Part]:
        """The histories in their order, ``size`` at a time.

        Raises:
            ValueError: one is no list of items.
        """
        for start in range(0, len(self), size):
            users = None if self.users is None else self.users[start : start + size]
            if isinstance(self.lists, pl.Series):
                items, lengths = list_parts(self.lists.slice(start, size))
                yield Part(items, lengths, users)
            else:
                lists = self.lists[start : start + size]
                lengths = np.array([len(each) for each in lists], dtype=np.int64)
                yield Part(_flat(lists, start), lengths, users)


def asked_histories(histories: Any, users: Any = None) -> AskedHistories:
    """What a caller asks for; an empty list is one empty history.

    Args:
        histories: a sequence of items, oldest first; a sequence of such; or a frame of polars or pandas with
            a column ``history`` of lists, and perhaps one ``user``.
        users: raw ids, one for each of several histories that are not in a frame with users.

    Raises:
        ValueError: it is none of these.
    """
    if hasattr(histories, "columns") and not isinstance(histories, pl.LazyFrame):
        return _of_frame(histories, users)
    if isinstance(histories, pl.Series) and histories.dtype.is_nested():
        return AskedHistories(_texts(histories, "`histories`"), _users(users, len(histories)))
    every = listed(histories, HISTORY, "items")
    if not every or not _is_history(every[0]):
        if users is not None:
            raise ValueError("`users` is for several histories; of one, `user` says whose it is")
        return AskedHistories([checked(every, HISTORY)], one=True)
    for place, each in enumerate(every):
        if not _is_history(each):
            raise ValueError(
                f"`histories` must be lists of items, as the first is; number {place} is {each!r}"
            )
    lists = [each if isinstance(each, list | tuple) else listed(each, "histories", "items") for each in every]
    return AskedHistories(lists, _users(users, len(lists)))


def _is_history(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _of_frame(frame: Any, users: Any) -> AskedHistories:
    names = [str(each) for each in frame.columns]
    if HISTORY not in names:
        raise ValueError(
            f"a frame of histories needs a column `{HISTORY}` of lists; {nearest(HISTORY, names)}"
        )
    if USER in names and users is not None:
        raise ValueError("`users` is for histories without them; this frame has a column `user`")
    if isinstance(frame, pl.DataFrame):
        lists: Any = _texts(frame[HISTORY], f"column `{HISTORY}`")
        named = frame[USER].cast(pl.String) if USER in names else None
        column: Any = None if named is None else named.to_list()
    else:  # of pandas, whose columns polars reads with pyarrow alone
        lists = [_given(each) for each in frame[HISTORY].tolist()]
        column = [_text(each) for each in frame[USER].tolist()] if USER in names else None
        named = None if column is None else pl.Series(USER, column, dtype=pl.String)
    names_of_rows = pl.Series(ROW, np.arange(len(lists), dtype=np.int64)) if named is None else named
    return AskedHistories(lists, column if named is not None else _users(users, len(lists)), names_of_rows)


def _texts(column: pl.Series, name: str) -> pl.Series:
    inner: Any = getattr(column.dtype, "inner", None)
    if not isinstance(column.dtype, pl.List) or not (
        inner == pl.String or inner == pl.Null or inner.is_integer()
    ):
        raise ValueError(f"{name} must hold lists of raw ids, it holds {column.dtype}")
    return column.cast(pl.List(pl.String)).rename(HISTORY)


def _given(value: Any) -> Any:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    return value if isinstance(value, list | tuple) else listed(value, HISTORY, "items")


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)  # NaN is no user


def _users(users: Any, count: int) -> list[str | None] | None:
    if users is None:
        return None
    every = [checked_user(each) for each in listed(users, "users", "raw ids")]
    if len(every) != count:
        raise ValueError(f"`users` must be one for each of {count:,} histories, got {len(every):,}")
    return every


def _flat(lists: Sequence[Sequence[Item]], start: int) -> Sequence[Item]:
    flat = list(chain.from_iterable(lists))
    if are_texts(flat):
        return flat
    return [item for place, each in enumerate(lists, start) for item in checked(each, f"histories[{place}]")]
