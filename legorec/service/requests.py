"""Bodies of requests, checked: what is wrong names its field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legorec.data.layout import nearest


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Args:
        body: bytes.
        k: items of a list.
        many: histories or items that are answered at once.
    """

    body: int = 1 << 20
    k: int = 1000
    many: int = 1000


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        field: of the body, where one is to blame.
    """

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field

    def body(self) -> dict[str, Any]:
        """What the client is told."""
        return {"error": str(self)} | ({"field": self.field} if self.field else {})


def parsed(data: bytes) -> dict[str, Any]:
    """The object of a body.

    Raises:
        Refused: it is none, as JSON has it.
    """
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError) as problem:
        raise Refused(400, f"the body is no JSON: {str(problem) or type(problem).__name__}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the body must be a JSON object, got a {type(found).__name__}")
    return found


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def take(body: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises Refused: a field is not known."""
    for name in body:
        if name not in known:
            raise Refused(400, f"the field '{name}' is not known; {nearest(name, known)}", name)


def one_of(body: Mapping[str, Any], *names: str) -> str:
    """The one of these fields that is there.

    Raises:
        Refused: none of them is, or several.
    """
    given = [name for name in names if body.get(name) is not None]
    if len(given) != 1:
        wanted = " or ".join(f"'{name}'" for name in names)
        said = f"both are there: {', '.join(given)}" if given else "it is not there"
        raise Refused(400, f"the body needs {wanted}; {said}", given[-1] if given else names[0])
    return given[0]


def count(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A whole number from 1 to ``most``.

    Raises:
        Refused: it is none.
    """
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refused(400, f"'{name}' must be a whole number from 1 to {most}, got {_short(value)}", name)
    return value


def items(value: Any, name: str) -> list[Any]:
    """A list of items, each a raw id or an object of fields.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, list):
        raise Refused(400, f"'{name}' must be a list of items, got {_short(value)}", name)
    for each in value:
        if not isinstance(each, str | dict):
            rule = f"an item of '{name}' is a raw id (a text) or an object of fields"
            raise Refused(400, f"{rule}, got {_short(each)}", name)
    return value


def ids(body: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """A list of raw ids, or None.

    Raises:
        Refused: it is neither.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Refused(400, f"'{name}' must be a list of raw ids (texts), got {_short(value)}", name)
    return tuple(value)


def several(value: Any, name: str, most: int) -> list[Any]:
    """A list of one to ``most`` things.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, list) or not value:
        raise Refused(400, f"'{name}' must be a list that is not empty, got {_short(value)}", name)
    if len(value) > most:
        raise Refused(413, f"'{name}' may hold {most:,} at most, got {len(value):,}", name)
    return value


def text(value: Any, name: str) -> str | None:
    """A text, or None.

    Raises:
        Refused: it is neither.
    """
    if value is not None and not isinstance(value, str):
        raise Refused(400, f"'{name}' must be a text, got {_short(value)}", name)
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """True or False.

    Raises:
        Refused: it is neither.
    """
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refused(400, f"'{name}' must be true or false, got {_short(value)}", name)
    return value


def categories(body: Mapping[str, Any], name: str = "filter") -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Categories by field.

    Raises:
        Refused: they are not given so.
    """
    value = body.get(name) or {}
    found = []
    for key, wanted in value.items() if isinstance(value, dict) else [("", None)]:
        listed = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            rule = f"'{name}' must be an object with a category or a list of them for each field"
            raise Refused(400, f"{rule}, got {_short(value)}", name)
        found.append((key, tuple(listed)))
    return tuple(found)


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= 80 else said[:77] + "..."
