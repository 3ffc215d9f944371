"""Times as ISO 8601 writes them: ``2024-05-01``, ``2024-05-01T10:30``, ``2024-05-01 10:30:00.25+02:00``."""

from __future__ import annotations

import polars as pl

FORM = (
    r"^\s*([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?\s*$"
)
EXAMPLE = "2024-05-01T10:30:00Z"
# Of hours, minutes and seconds; a leap second counts as the one after it.
LARGEST = {"hour": 23, "minute": 59, "second": 60}


def is_iso(text: object) -> bool:
    """Whether a value is written in this form, the day and the hour unread."""
    return isinstance(text, str) and bool(pl.Series([text]).str.contains(FORM)[0])


def clock_seconds(texts: pl.Series, clock: str) -> pl.Series:
    """Whole seconds (Int64), rounded down, of texts in a format (strptime) or ISO 8601; null for others."""
    seconds = texts.str.to_datetime(clock, strict=False).dt.epoch("s")
    return seconds.fill_null(read_iso(texts)["seconds"]) if seconds.null_count() else seconds


def read_iso(texts: pl.Series) -> pl.DataFrame:
    """The times of a column.

    Returns: ``seconds`` (Int64; null where a text is no time, or of a day or an hour that there is not),
        ``nanoseconds`` that come on top, ``zoned``: it says how far it is from UTC. Those that do not are
        taken for UTC.
    """
    names = ["day", "hour", "minute", "second", "fraction", "zone"]
    parts = texts.cast(pl.String).str.extract_groups(FORM).struct.rename_fields(names).struct.unnest()
    clock = {name: pl.col(name).cast(pl.Int64).fill_null(0) for name in LARGEST}
    shift = pl.col("zone").str.replace_all(":", "").str.pad_end(5, "0")
    hours, minutes = (shift.str.slice(start, 2).cast(pl.Int64, strict=False) for start in (1, 3))
    away = pl.when(pl.col("zone").str.to_lowercase() == "z").then(0).otherwise(hours * 3600 + minutes * 60)
    ahead = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    days = pl.col("day").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    fits = pl.all_horizontal(clock[name] <= most for name, most in LARGEST.items())
    fits &= pl.col("zone").is_null() | (away < 86400)
    seconds = days * 86400 + clock["hour"] * 3600 + clock["minute"] * 60 + clock["second"]
    return parts.select(
        seconds=pl.when(fits).then(seconds - (ahead * away).fill_null(0)),
        nanoseconds=pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64).fill_null(0),
        zoned=pl.col("zone").is_not_null(),
    )
