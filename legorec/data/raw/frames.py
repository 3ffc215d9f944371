"""Tables in memory, of pandas, polars or plain columns, to a data store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from legorec.data import store
from legorec.data.layout import nearest
from legorec.data.raw.lines import InputError
from legorec.data.raw.next_command import save_layer
from legorec.data.raw.tables import HELD_OUT, KINDS, Reading, Source, write_tables
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.like import Like
from legorec.data.writing.writer import StoreWriter

Fields = str | Sequence[str] | Mapping[str, str]  # names of columns, or columns by the names of fields


class Store(store.Store):
    """A store that may be written from tables in memory, too."""

    @classmethod
    def from_frames(
        cls,
        items: Any,
        interactions: Any,
        path: str | Path,
        *,
        users: Any = None,
        text: Any = (),
        category: Any = (),
        categories: Any = (),
        number: Any = (),
        user_category: Any = (),
        user_categories: Any = (),
        user_number: Any = (),
        **how: Any,
    ) -> Self:
        """Write a store from tables in memory, and open it.

        Tables are frames of pandas or polars, or mappings of names to columns; ids may be of any type. Fields
        of the items are named by kind, as a name, a list, or ``{field: column}``; so are those of the users.

        Args:
            interactions: a row for each user and item, in order or with a ``time``.
            path: the folder to write.
            how: ``item_id`` and ``user_id`` (of ``items`` and ``users``), ``user``, ``item``, ``time``,
                ``label``, ``rating``, ``min_rating``, ``group`` (of ``interactions``), or ``history``, where
                a row is a user with a list of items; ``split`` (last, time, column), ``split_column``,
                ``shares``, ``num_negatives``, ``seed``, ``keep_doubled``; ``tokenizers`` (words),
                ``max_missing``, ``overwrite``; ``like``, an older store, or its folder, whose fields are
                taken where none are named. All mean what they do in ``process/tables.py``.
        Raises:
            ValueError: a table, a column or a value is not what it should be, or the folder is there.
        """
        fields = {"text": text, "category": category, "categories": categories, "number": number}
        of_users = {"category": user_category, "categories": user_categories, "number": user_number}
        write_frames(path, items, interactions, users, fields=fields, user_fields=of_users, **how)
        made = cls.open(path)
        save_layer(made)
        return made


def write_frames(
    path: str | Path,
    items: Any,
    interactions: Any,
    users: Any = None,
    *,
    fields: Mapping[str, Fields],
    user_fields: Mapping[str, Fields],
    tokenizers: str | Sequence[str] | None = None,
    max_missing: float = 0.01,
    overwrite: bool = False,
    like: store.Store | str | Path | None = None,
    **reading: Any,
) -> None:
    """Write a store from frames, see ``Store.from_frames``.

    Args:
        fields: by kind.
        tokenizers: None: words, or those of ``like``.
        like: an older store, see ``legorec.data.writing.like``.
        reading: of ``Reading``.
    Raises:
        InputError: what was given is no table, or a column is missing or does not hold what it is said to.
    """
    if (split := reading.get("split", HELD_OUT[0])) not in HELD_OUT:
        raise InputError(f"`split` must be one of {', '.join(HELD_OUT)}; {nearest(str(split), HELD_OUT)}")
    asked = Reading(**reading, list_separator=None)
    old = None if like is None else Like.open(like)
    tables = [Source(frame_of(items, "items"), "items", columns_of(fields) or _fields_of(old, "items"))]
    tables += [Source(frame_of(interactions, "interactions"), "interactions")]
    if users is not None:
        columns = columns_of(user_fields) or _fields_of(old, "users")
        tables.append(Source(frame_of(users, "users"), "users", columns))
    if tokenizers is None:
        tokenizers = "words" if old is None else ()
    choices = [tokenizers] if isinstance(tokenizers, str) else [*tokenizers]
    with StoreWriter(
        path,
        {"processor": "tables"} | asked.recorded,
        [TokenizerChoice.parse(choice) for choice in choices],
        max_missing=max_missing,
        overwrite=overwrite,
        like=old,
    ) as writer:
        write_tables(writer, asked, *tables)


def _fields_of(like: Like | None, table: str) -> list[Column]:
    return [] if like is None else like.columns(table)


def columns_of(fields: Mapping[str, Fields]) -> list[Column]:
    """The fields by kind, each with the column that it reads."""
    found = []
    for kind in KINDS:
        named = fields.get(kind, ())
        named = [named] if isinstance(named, str) else named
        pairs = named.items() if isinstance(named, Mapping) else [(name, name) for name in named]
        found += [Column(name, kind, source) for name, source in pairs]  # type: ignore[arg-type]
    return found


def frame_of(table: Any, name: str) -> pl.DataFrame:
    """A frame of polars, of pandas, or columns by name, as one of polars; no pyarrow is needed.

    Ids of any type become texts: those that are no numbers as ``str`` spells them.

    Args:
        name: for messages.
    Raises:
        InputError: it is none of these, or its columns differ in length.
    """
    if isinstance(table, pl.DataFrame):
        columns = {column: table[column] for column in table.columns}
    elif isinstance(table, pl.LazyFrame):
        return frame_of(table.collect(), name)
    elif isinstance(table, Mapping):
        columns = dict(table)
    elif hasattr(table, "columns") and hasattr(table, "iloc"):
        if not table.columns.is_unique:
            raise InputError(f"{name}: a column of the frame is there twice")
        columns = {str(column): table[column] for column in table.columns}
    else:
        raise InputError(
            f"{name}: must be a frame of pandas or polars, or a mapping of column names to values, got "
            f"{type(table).__name__}"
        )
    made = {str(column): _series(str(column), values, name) for column, values in columns.items()}
    if len(lengths := {column: len(values) for column, values in made.items()}) and (
        len({*lengths.values()}) > 1
    ):
        said = ", ".join(f"{column} {length:,}" for column, length in lengths.items())
        raise InputError(f"{name}: its columns differ in length: {said}")
    return pl.DataFrame(made)


def _series(column: str, values: Any, table: str) -> pl.Series:
    """One column as a series of polars."""
    if isinstance(values, pl.Series):
        series = values.rename(column)
        return _spelled(series) if series.dtype == pl.Object else series
    values = _without_zone(values)
    array = values if isinstance(values, np.ndarray) else None
    if array is None and hasattr(values, "to_numpy") and getattr(values.dtype, "kind", "O") in "iufbM":
        plain = getattr(values.dtype, "numpy_dtype", values.dtype)  # pandas has numbers with gaps, too
        array = values.to_numpy() if plain is values.dtype else None
    if array is not None and array.ndim == 1 and array.dtype.kind in "iufbM":
        if array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] not in ("D", "ms", "us", "ns"):
            array = array.astype("datetime64[us]")
        return pl.Series(column, np.ascontiguousarray(array))
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise InputError(f"{table}: column '{column}' must hold one value a row, got {values!r}")
    listed = [_plain(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]
    try:
        series = pl.Series(column, listed, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return _spelled(pl.Series(column, listed, dtype=pl.Object))
    return _spelled(series) if series.dtype == pl.Object else series


def _spelled(series: pl.Series) -> pl.Series:
    """Objects as the texts that they are printed as."""
    texts = [None if value is None else str(value) for value in series.to_list()]
    return pl.Series(series.name, texts, dtype=pl.String)


def _without_zone(values: Any) -> Any:
    """Times of pandas with a zone as those of UTC without one."""
    if getattr(getattr(values, "dtype", None), "tz", None) is None:
        return values
    return values.dt.tz_convert("UTC").dt.tz_localize(None)


def _plain(value: Any) -> Any:
    """A value without numpy, and None for each of the ways to say that there is none."""
    if isinstance(value, np.ndarray | tuple | set | frozenset):
        return [_plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value
