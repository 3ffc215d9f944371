"""Read pairs of user and item from a file, as impressions to rank."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.layout import nearest
from legorec.data.ragged import Ragged
from legorec.data.raw.fields import lists_of, texts_of
from legorec.data.raw.readers import LINE, need_columns
from legorec.data.raw.table_files import read_table
from legorec.data.store import Interactions
from legorec.data.writing.columns import list_parts
from legorec.data.writing.missing import MissingIds
from legorec.recipes.inputs.store_data import Data

COLUMNS = ("user", "item", "history")


class Pairs(NamedTuple):
    """The pairs of a file."""

    table: pl.DataFrame  # its columns
    impressions: Impressions  # one for each user, and history where one is given; items that are in the store
    row: np.ndarray  # (R,) of the table, for each candidate of the impressions
    counts: dict[str, int]


def read_pairs(file: Path, data: Data, max_missing: float) -> Pairs:
    """The pairs of a CSV, TSV, JSON or Parquet file with the columns ``user`` and ``item``, raw ids.

    A column ``history`` holds item ids, oldest first: a list, or a text in which spaces are between ids that
    hold none; without it a user has the latest stored history, see ``Data.latest_spans``. Where
    ``max_missing`` lets unknown ids pass, an unknown user is a stranger, an unknown item has no score, and
    one of a history is left out.

    Raises:
        ValueError: the file is missing or malformed or empty, a column is missing or unknown, or a larger
            share of the users, items or clicks than ``max_missing`` is not in the store.
    """
    known_users, known_items = (each.ids.series() for each in (data.store.users, data.store.items))
    table, clicked = _columns(file, known_items)
    users, items = data.store.users.index(table["user"]), data.store.items.index(table["item"])
    if (generated := items >= data.num_real).any():
        raise ValueError(
            f"{file}: its items hold {int(generated.sum()):,} generated ones, first "
            f"'{table['item'][int(generated.argmax())]}'; such stand in histories alone"
        )
    missing = MissingIds(max_missing)
    missing.add(file.name, "users", users, table["user"], known_users)
    missing.add(file.name, "items", items, table["item"], known_items)
    # The rows of one user, or of one user and history, are an impression, named by the first of them.
    first, impression = np.unique(_first_alike(table["user"], clicked), return_inverse=True)
    if clicked is not None:
        ids, lengths = list_parts(clicked.gather(first))
        rows = data.store.items.index(ids)
        missing.add(file.name, "clicks", rows, ids, known_items)
        given = Ragged.from_lengths(rows, lengths).keep(rows >= 0)
        clicks, spans = given.values, np.stack([given.offsets[:-1], given.offsets[1:]], axis=1)
    else:
        clicks, latest = data.store.histories, np.append(data.latest_spans(), -1)[users[first]]
        spans = np.where(latest[:, None] >= 0, np.append(data.store.spans, [[0, 0]], axis=0)[latest], 0)
    missing.check()
    known = np.flatnonzero(items >= 0)
    if not len(known):
        raise ValueError(f"{file}: none of its {len(table):,} items is in {data.store.path}")
    row = known[np.argsort(impression[known], kind="stable")]
    candidates = Ragged.from_lengths(
        items[row].astype(np.int32), np.bincount(impression[known], minlength=len(first))
    )
    asked = Interactions(
        user=users[first].astype(np.int32),
        span=np.arange(len(first)),  # of a user's own: an encoded history belongs to one
        candidates=candidates,
        labels=np.zeros(len(row), dtype=np.uint8),
        ids=None,
        time=None,
        labelled=False,
    )
    histories = Histories(clicks, spans, data.settings.history.max_length)
    counts = {f"unknown_{place}": count["missing"] for place, count in missing.manifest()[file.name].items()}
    counts["without_history"] = int((spans[:, 1] == spans[:, 0]).sum())
    return Pairs(table, Impressions(asked, histories, data.num_items), row, counts)


def _columns(file: Path, ids: pl.Series) -> tuple[pl.DataFrame, pl.Series | None]:
    """The columns of a file, and its histories as lists of ids where it has them.

    Args:
        ids: of the items.
    """
    table = read_table(file)
    need_columns(table, COLUMNS[:2], str(file))
    for name in table.columns:
        if name not in (*COLUMNS, LINE):
            raise ValueError(f"{file}: a column '{name}' is not known; {nearest(name, COLUMNS)}")
    if not len(table):
        raise ValueError(f"{file}: it holds no pair")
    texts = [texts_of(table, name, str(file)).fill_null("") for name in COLUMNS[:2]]
    if "history" not in table.columns:
        return pl.DataFrame(texts), None
    clicked = lists_of(table, "history", str(file), " ", ids).fill_null([])
    given = table["history"]
    shown = clicked if isinstance(given.dtype, pl.List) else given.cast(pl.String).fill_null("")
    return pl.DataFrame([*texts, shown]), clicked


def _first_alike(users: pl.Series, clicked: pl.Series | None) -> np.ndarray:
    """(n,) for each row the first one with the same user and, where there is one, the same history."""
    keys = [users] if clicked is None else [users, clicked.alias("clicked")]
    table = pl.DataFrame(keys).with_row_index("#row")
    return table.select(pl.col("#row").first().over(table.columns[1:])).to_series().to_numpy()
