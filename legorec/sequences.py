"""Sequences that callers give, taken by place: what has no order, or is one text, is refused by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

Each = TypeVar("Each")


def listed(values: Iterable[Each], name: str, what: str) -> list[Each]:
    """A list of its own, in the order in which the values are given.

    A column of a data frame is read by its labels where a list is read by its places.

    Args:
        name: of the argument, for messages.
        what: the values are, in the plural.

    Raises:
        ValueError: it is a text, has no order, or is a table.
    """
    if isinstance(values, str | bytes):
        raise ValueError(f"`{name}` must be a list of {what}, got the text {values!r}")
    if isinstance(values, Mapping | Set) or getattr(values, "ndim", 1) != 1 or hasattr(values, "columns"):
        raise ValueError(f"`{name}` must be a list of {what} in an order, got a {type(values).__name__}")
    try:
        return list(values)
    except TypeError:
        raise ValueError(f"`{name}` must be a list of {what}, got {values!r}") from None


def texts(values: Iterable[str], name: str, what: str) -> list[str]:
    """``listed``, each of them a text.

    Raises:
        ValueError: as ``listed``, or one is no text.
    """
    every = listed(values, name, what)
    if not are_texts(every):
        each = next(each for each in every if not isinstance(each, str))
        raise ValueError(f"`{name}` must be a list of {what} (texts), got {each!r} in it{as_text(each)}")
    return every


def are_texts(values: Collection[Any]) -> bool:
    """Whether each of many values is a text; a quarter of the time of asking one after the other."""
    return set(map(type, values)) <= {str} or all(isinstance(each, str) for each in values)


def whole_numbers(values: Iterable[int], name: str, what: str) -> np.ndarray:
    """(n,) int64, in the order in which the values are given.

    Raises:
        ValueError: as ``listed``, or one is no whole number.
    """
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu":
        return values.astype(np.int64, copy=False)
    every = listed(values, name, what)
    for each in every:
        if not is_whole(each):
            raise ValueError(f"`{name}` must be a list of {what} (whole numbers), got {each!r} in it")
    return np.array(every, dtype=np.int64)


def is_whole(value: Any) -> bool:
    """Whether it counts something: True and False do not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def as_text(value: Any) -> str:
    """What to write in place of a whole number that stands for a raw id."""
    return f"; as a raw id it is {str(value)!r}" if isinstance(value, Integral) else ""
