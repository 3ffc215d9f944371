"""Fields, ids and lists from the columns of a table, or a refusal that names file and column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE, kind_of, need_columns, numbers_of
from legorec.data.writing.columns import Column

JSON_LIST = r"(?s)^\s*\[.*\]\s*$"


def fields_of(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    label: str,
    list_separator: str | None = None,
    way_out: str = "",
) -> tuple[pl.DataFrame, list[Column]]:
    """The table with a column for each field, and the fields that read these.

    A text may be a list of texts, which are joined with spaces: words in order, no ids.

    Args:
        label: of the file.
        list_separator: between the categories of a text; None refuses texts.
        way_out: the end of the message about a column that is not there.
    Raises:
        InputError: a column does not exist, or cannot be what its field is to be.
    """
    need_columns(frame, [column.source or column.name for column in columns], label, way_out)
    made, fields = {}, []
    for column in columns:
        source, name = column.source or column.name, f"field {column.name}"
        made[name] = _as_kind(frame, source, column.kind, label, list_separator)
        fields.append(replace(column, source=name))
    return frame.with_columns(**made), fields


def _as_kind(frame: pl.DataFrame, name: str, kind: str, label: str, list_separator: str | None) -> pl.Series:
    dtype = frame[name].dtype
    if kind == "categories":
        return lists_of(frame, name, label, list_separator)
    if kind == "text" and isinstance(dtype, pl.List) and not dtype.inner.is_nested():
        return frame[name].cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
    if kind == "number":
        return numbers_of(frame, name, label, or_empty=True)
    way_out = "; for lists there are categories" if isinstance(dtype, pl.List) and kind == "category" else ""
    return texts_of(frame, name, label, f"to be a {kind}", way_out)


def texts_of(
    frame: pl.DataFrame, name: str, label: str, what: str = "to be ids", way_out: str = ""
) -> pl.Series:
    """A column of single values, ids among them, as texts.

    Raises:
        InputError: it holds lists, objects or bytes.
    """
    column = frame[name]
    if column.dtype.is_nested():
        rule = f"must hold single values {what}, it holds {kind_of(column.dtype)}"
        raise InputError(f"{label}: column '{name}' {rule}{way_out}")
    try:
        return spelled(column)
    except pl.exceptions.PolarsError:
        rule = f"must hold texts {what}, it holds {column.dtype}"
        raise InputError(f"{label}: column '{name}' {rule}") from None


def spelled(column: pl.Series) -> pl.Series:
    """Single values as texts.

    Whole numbers are written as such where pandas made 12.0 of them, as it does with all of a column in which
    a value is missing; NaN is a missing value.
    """
    if not column.dtype.is_float():
        return column.cast(pl.String)
    column = column.fill_nan(None)
    return (column.cast(pl.Int64) if _are_whole(column) else column).cast(pl.String)


def lists_as_json(table: pl.DataFrame) -> pl.DataFrame:
    """With lists as texts in JSON, as ``lists_of`` reads them: ids may hold any separator."""
    nested = [name for name, kind in table.schema.items() if kind.is_nested()]
    return table.with_columns(
        pl.Series(name, [json.dumps(each, ensure_ascii=False) for each in table[name].to_list()], pl.String)
        for name in nested
    )


def _are_whole(values: pl.Series) -> bool:
    """Whether numbers that are there could be written without a point."""
    given = values.cast(pl.Float64).fill_nan(None).drop_nulls()
    return bool(((given.floor() == given) & (given.abs() < 2**63)).all())


def lists_of(
    frame: pl.DataFrame, name: str, label: str, separator: str | None, ids: pl.Series | None = None
) -> pl.Series:
    """A column of lists, as lists of texts; a text is split, and empty parts are left out.

    A text that is a JSON list counts as such, where all are.

    Args:
        ids: those that the lists may hold. Where one holds the separator texts are refused: split, they would
            come apart as other ids.
    Raises:
        InputError: it holds lists of objects, or lists as a program prints them; or texts, and there is no
            separator.
    """
    column = frame[name]
    if isinstance(column.dtype, pl.List) and column.dtype.inner.is_float():
        values = column.explode()
        column = column.cast(pl.List(pl.Int64), strict=False) if _are_whole(values) else column
        return column.cast(pl.List(pl.String))
    if isinstance(column.dtype, pl.List) and not column.dtype.inner.is_nested():
        return column.cast(pl.List(pl.String))
    if column.dtype.is_nested():
        raise InputError(
            f"{label}: column '{name}' must hold lists of texts or numbers, it holds {kind_of(column.dtype)}"
        )
    texts = texts_of(frame, name, label, "or lists")
    given = texts.is_not_null() & (texts.str.strip_chars() != "")
    if given.any() and texts.filter(given).str.contains(JSON_LIST).all():
        return _json_lists(frame, name, label, texts.set(~given, None))
    if separator is None:
        raise InputError(f"{label}: column '{name}' must hold lists, it holds single values")
    if ids is not None and len(held := ids.filter(ids.str.contains(separator, literal=True))):
        raise InputError(
            f"{label}: column '{name}' holds lists as texts, split at {separator!r}, and ids hold it, e.g. "
            f'\'{held[0]}\'; give them as JSON, ["a", "b"], or in JSON lines or Parquet'
        )
    return texts.str.split(separator).list.eval(pl.element().filter(pl.element() != ""))


def _json_lists(frame: pl.DataFrame, name: str, label: str, texts: pl.Series) -> pl.Series:
    kind = pl.List(pl.String)
    try:
        return texts.str.json_decode(kind)
    except pl.exceptions.PolarsError:
        pass  # it does not say which
    for place, text in enumerate(texts):
        try:
            pl.Series([text], dtype=pl.String).str.json_decode(kind)
        except pl.exceptions.PolarsError:
            line = f"line {frame[LINE][place]}" if LINE in frame.columns else f"row {place + 1}"
            shown = text if len(text) < 60 else f"{text[:57]}..."
            raise InputError(
                f"{label}: {line}: column '{name}' holds a list as a program prints it, {shown}; write "
                'lists as JSON, ["a", "b"], or the table as JSON lines or Parquet'
            ) from None
    raise AssertionError("each text is a list and all together are none")
