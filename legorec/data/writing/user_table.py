"""Fields of users from a table of their own, for users who are known from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from legorec.data.layout import StoreError
from legorec.data.store import rows_of
from legorec.data.writing.columns import Column, column_of
from legorec.data.writing.spelling import LOOKED_AT, spelt_otherwise

ID = "#id"  # the column of raw ids; a table may have one called `id` that says something else
Repeats = Literal["refuse", "first", "last"]


@dataclass(frozen=True)
class UserTable:
    """One row per user: raw ids in ``ID``, and the columns that become fields.

    Args:
        label: where it comes from, for messages.
        dropped: rows that were left out, by reason.
    """

    frame: pl.DataFrame
    columns: Sequence[Column]
    label: str
    dropped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        id_column: str,
        label: str,
        repeats: Repeats = "refuse",
    ) -> UserTable:
        """The table with every user once. Rows that say the same again are dropped and counted.

        Args:
            repeats: what is done about a user with rows that differ: an error, or one of them is kept.

        Raises:
            StoreError: a column or an id is missing, or a user has rows that differ.
        """
        ids = column_of(frame, id_column).cast(pl.String).rename(ID)
        if missing := int((ids.is_null() | (ids == "")).sum()):
            raise StoreError(f"{label}: {missing:,} of {len(ids):,} rows have no id in '{id_column}'")
        sources = list(dict.fromkeys(column.of(frame).name for column in columns))
        whole = pl.DataFrame([ids, *(frame[name] for name in sources)])
        once = whole.unique(maintain_order=True)
        one_each = once.unique(ID, keep="last" if repeats == "last" else "first", maintain_order=True)
        differing = len(once) - len(one_each)
        if differing and repeats == "refuse":
            example = once[ID].filter(once[ID].is_duplicated())[0]
            raise StoreError(
                f"{label}: a user must have one row; {differing:,} rows say something else of a user again, "
                f"e.g. of '{example}'; --user_repeats first or last keeps one of them"
            )
        dropped = {
            f"rows of {label} that say the same of a user again": len(whole) - len(once),
            f"rows of {label} that say something else of a user (the {repeats} is kept)": differing,
        }
        return cls(one_each, columns, label, {what: count for what, count in dropped.items() if count})

    def of_users(self, ids: pl.Series, max_missing: float) -> tuple[pl.DataFrame, dict[str, int]]:
        """A row for each of some users, without values where the table has none; and what was dropped.

        Args:
            max_missing: the share of the users that may be without a row.

        Raises:
            StoreError: more are; the message shows ids of both sides.
        """
        rows = rows_of(ids, pl.Enum(self.frame[ID]))
        without = int((rows < 0).sum())
        if without > max_missing * len(rows) or (without and without == len(rows)):
            examples = [str(each) for each in ids.filter(pl.Series(rows < 0)).head(LOOKED_AT)]
            theirs = np.setdiff1d(np.arange(len(self.frame)), rows)
            others = self.frame[ID].gather(theirs) if len(theirs) else self.frame[ID]
            raise StoreError(
                f"{self.label}: {without:,} of {len(rows):,} users have no row in it "
                f"({without / len(rows):.1%}), {spelt_otherwise(examples, others)}. At most "
                f"{max_missing:.4g} of them may be without one (--max_missing)"
            )
        unused = len(self.frame) - len(np.unique(rows[rows >= 0]))
        dropped = self.dropped | (
            {f"rows of {self.label} of users who are not here": unused} if unused else {}
        )
        places = pl.Series(rows).replace(-1, None)
        return self.frame.select(pl.exclude(ID).gather(places)), dropped
