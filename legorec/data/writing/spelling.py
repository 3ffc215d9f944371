"""Why ids of one table are not in another: how the two spell them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

LOOKED_AT = 100  # missing ids


def spelt_otherwise(missing: Sequence[str], known: pl.Series, whose: str = "the table") -> str:
    """The end of a message: an id that is missing, one of the other side, and what differs if it can be seen.

    Args:
        missing: some ids, at least one.
        known: the ids of the other side.
        whose: they are.
    """
    plain = pl.DataFrame({"known": known.cast(pl.String)}).with_columns(key=_plain(pl.col("known")))
    asked = pl.DataFrame({"asked": missing}, schema={"asked": pl.String})
    asked = asked.with_columns(key=_plain(pl.col("asked")))
    pairs = asked.join(plain, on="key", how="inner", maintain_order="left")
    if not len(pairs):
        there = f"{whose} has '{known[0]}'" if len(known) else f"{whose} is empty"
        return f"e.g. '{missing[0]}', and {there}"
    ours, theirs = pairs["asked"][0], pairs["known"][0]
    differences = " and ".join(_differences(ours, theirs))
    return f"e.g. '{ours}', which {whose} spells '{theirs}': they differ in {differences}"


def _plain(column: pl.Expr) -> pl.Expr:
    """An id without what tables spell differently."""
    column = column.str.strip_chars().str.strip_chars("\"'").str.to_lowercase()
    column = column.str.replace(r"^([0-9]+)\.0+$", "${1}")
    return column.str.replace(r"^0+([0-9]+)$", "${1}")


def _differences(one: str, other: str) -> list[str]:
    """What of ``_plain`` two spellings differ in."""
    steps = {
        "blanks": str.strip,
        "quotes": lambda text: text.strip("\"'"),
        "capitals": str.lower,
        "an ending .0": lambda text: text.rstrip("0").rstrip(".") if ".0" in text else text,
    }
    found = []
    for name, step in steps.items():
        found += [name] * ((step(one) != one) != (step(other) != other))
        one, other = step(one), step(other)
    return found + ["leading zeros"] * (one != other)
