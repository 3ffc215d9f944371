"""Tables of items, users and what users did with them, in frames, to a store: for every caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from legorec.data.raw.command import USERS
from legorec.data.raw.fields import fields_of, lists_of, texts_of
from legorec.data.raw.holdout import (
    SPLITS,
    Events,
    counted_once,
    labelled_lists,
    last_left_out,
    liked_among_unmet,
    split_times,
    users_divided,
)
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import need_columns, numbers_of
from legorec.data.raw.times import times_of
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

KINDS = ("text", "category", "categories", "number")
HELD_OUT = ("last", "users", "time", "column")


@dataclass(frozen=True)
class Reading:
    """Which columns are what, and how impressions are made of rows; see ``process/tables.py``.

    Args:
        history: the column of the items where a row is a user; None: a row is a user and an item.
        min_rating: the lowest rating that is a like.
        time_unit: what numbers of ``time`` count; None: their size shows it.
        shares: of train, dev and test, in time or of the users.
        history_lengths: with ``split="users"``, the least and the most items before the one that is left out.
        num_users: with it, at most so many, drawn.
        num_negatives: drawn for each dev and test impression.
        spelled: how the caller's user writes an argument, with its name in the place of ``{}``.
    """

    item_id: str = "item"
    user_id: str = "user"
    user: str = "user"
    item: str = "item"
    history: str | None = None
    label: str | None = None
    rating: str | None = None
    min_rating: float = 4
    time: str | None = None
    time_unit: str | None = None
    time_format: str | None = None
    split: str = "last"
    split_column: str | None = None
    group: str | None = None
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    history_lengths: tuple[int, int] = (1, 1_000_000)
    num_users: int | None = None
    num_negatives: int = 20
    list_separator: str | None = " "
    keep_doubled: bool = False
    seed: int = 2023
    spelled: str = "`{}`"

    def __post_init__(self) -> None:
        """Raises InputError: arguments that do not go together."""
        say, labelled = self.spelled.format, self.label or self.rating
        if self.label and self.rating:
            raise InputError(f"give {say('label')} or {say('rating')}, not both")
        ends = self.split in ("last", "users")
        if self.history is not None and (not ends or labelled or self.time):
            raise InputError(
                f"{say('histories')} goes with {say('split')} last or users, and without {say('label')}, "
                f"{say('rating')} and {say('time')}"
            )
        if self.split == "time" and not self.time:
            raise InputError(f"{say('split')} time needs {say('time')}, the column of the time")
        if (self.split == "column") != bool(self.split_column):
            raise InputError(f"{say('split')} column and {say('split_column')} go together")
        if self.group and (ends or not labelled):
            raise InputError(
                f"{say('group')} needs {say('label')} or {say('rating')}, and {say('split')} time or column"
            )

    @property
    def recorded(self) -> dict[str, Any]:
        """What of it decides the store, for the manifest."""
        names = ["split", "min_rating"] if self.rating else ["split"]
        decide = {"time": ["shares"], "users": [*USERS, "num_negatives"]}
        names += decide.get(self.split, ["num_negatives"])
        names += ["keep_doubled"] if self.keep_doubled else []
        return {"seed": self.seed, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Source:
    """A table with its fields, and what to call it in messages."""

    frame: pl.DataFrame
    label: str
    columns: Sequence[Column] = ()
    way_out: str = ""  # of messages about columns that are not there


def write_tables(
    writer: StoreWriter, reading: Reading, items: Source, actions: Source, users: Source | None = None
) -> None:
    """Everything into the store.

    Raises:
        InputError: a column is missing or does not hold what it is said to.
    """
    frame, columns = fields_of(items.frame, items.columns, items.label, reading.list_separator, items.way_out)
    need_columns(items.frame, [reading.item_id], items.label, items.way_out)
    ids = texts_of(frame, reading.item_id, items.label)
    writer.items(frame.with_columns(ids), columns, reading.item_id, items.label)
    if users is not None:
        frame, columns = fields_of(
            users.frame, users.columns, users.label, reading.list_separator, users.way_out
        )
        need_columns(users.frame, [reading.user_id], users.label, users.way_out)
        names = texts_of(frame, reading.user_id, users.label)
        writer.users(frame.with_columns(names), columns, reading.user_id, users.label)
    write_actions(writer, reading, read_actions(writer, reading, actions, ids), actions.label)


def read_actions(writer: StoreWriter, reading: Reading, actions: Source, items: pl.Series) -> pl.DataFrame:
    """One row per user and item, in order, whichever table was given.

    Args:
        writer: is told of further rows of a user who is to have one example, as in a log of MIND.
        items: the ids in the table of items.
    """
    frame, label = actions.frame, actions.label
    if reading.history is None:
        columns = (reading.label, reading.rating, reading.time, reading.split_column)
        names = (reading.user, reading.item, reading.group)
        need_columns(frame, [name for name in (*names, *columns) if name], label, actions.way_out)
        return frame.with_columns(**{name: texts_of(frame, name, label) for name in names if name})
    need_columns(frame, [reading.user, reading.history], label, actions.way_out)
    user = texts_of(frame, reading.user, label)
    item = lists_of(frame, reading.history, label, reading.list_separator, items)
    lists = pl.DataFrame({reading.user: user, reading.item: item})
    if reading.split == "users":
        once = lists.unique(reading.user, keep="first", maintain_order=True)
        writer.dropped("further histories of a user (the first is kept)", len(lists) - len(once))
        lists = once
    return lists.filter(pl.col(reading.item).list.len() > 0).explode(reading.item)


def read_liked(frame: pl.DataFrame, reading: Reading, label: str) -> np.ndarray:
    """Which rows are likes: all of them, where there is neither label nor rating."""
    if reading.rating:
        return numbers_of(frame, reading.rating, label).to_numpy() >= reading.min_rating
    if not reading.label:
        return np.ones(len(frame), dtype=bool)
    values = numbers_of(frame, reading.label, label).to_numpy()
    if not np.isin(values, (0, 1)).all():
        way = reading.spelled.format("rating")
        raise InputError(f"{label}: column '{reading.label}' must hold 0 and 1; for ratings there is {way}")
    return values == 1


def read_part(frame: pl.DataFrame, reading: Reading, label: str) -> np.ndarray:
    """0, 1, 2 for what the split column calls train, dev, test."""
    assert reading.split_column is not None
    column = texts_of(frame, reading.split_column, label, "to be splits").replace("valid", "dev")
    part = column.replace_strict(
        dict(zip(SPLITS, range(3), strict=True)), default=-1, return_dtype=pl.Int64
    ).to_numpy()
    if (part < 0).any():
        wrong = column.filter(pl.Series(part < 0))
        raise InputError(
            f"{label}: column '{reading.split_column}' must hold train, dev (or valid) or test; "
            f"{len(wrong):,} of {len(frame):,} rows hold something else, e.g. {wrong[0]!r}"
        )
    return part


def write_actions(writer: StoreWriter, reading: Reading, frame: pl.DataFrame, label: str) -> None:
    """The impressions that rows of user and item make."""
    liked, group, times = read_liked(frame, reading, label), None, None
    if reading.time:
        times = times_of(
            frame,
            reading.time,
            label,
            reading.time_unit,
            reading.time_format,
            f", or need {reading.spelled.format('time_format')}",
        )
        if times.per_second > 1 and times.guessed:
            way = reading.spelled.format("time_unit")
            writer.progress.say(f"{label}: '{reading.time}' is taken for {times.unit} ({way})")
    user = writer.user_rows("interactions", frame[reading.user], label)
    item = writer.item_rows("interactions", frame[reading.item], file=label)
    moments = (times.values if times else None, writer.num_users, writer.num_items)
    events = Events.sort(user, item, liked, *moments, times.per_second if times else 1)
    if reading.group:
        group = frame[reading.group].rank("dense").to_numpy()
    events = counted_once(writer, events, reading.keep_doubled, group)
    if reading.split == "last":
        writer.dropped("users with fewer than 2 liked items", int((events.likes.lengths < 2).sum()))
        part = last_left_out(events)
        liked_among_unmet(writer, events, part, reading.num_negatives, reading.seed)
        return
    if reading.split == "users":
        divided = (reading.shares, reading.history_lengths, reading.num_users, reading.seed)
        liked_among_unmet(
            writer, events, users_divided(events, *divided), reading.num_negatives, reading.seed
        )
        return
    if reading.split == "column":
        part = read_part(frame, reading, label)[events.order]
    else:
        part = split_times(events.time, reading.shares)
    if not (reading.label or reading.rating):
        liked_among_unmet(writer, events, part, reading.num_negatives, reading.seed)
        return
    labelled_lists(writer, events, part, None if group is None else group[events.order])
