"""The prompts of a scheme, from a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from legorec.data.layout import StoreError, nearest
from legorec.data.store import Store, Table
from legorec.files.digest import digest_bytes
from legorec.template import Literal, Segment, parse_template
from legorec.texts.generator import AnswerFormat, Message, TextRequest
from legorec.texts.scheme import AnswerField, Scheme, label_of
from legorec.texts.training_histories import TrainingHistories

HISTORY, NUMBER = "history", "number"  # the slots that are no fields
BLOCK = 1024  # prompts that are made at a time

Column = Callable[[np.ndarray], list[str]]  # rows of a table -> the text of a field in each


def requests_of(scheme: Scheme, store: Store, train: str = "train") -> Iterator[TextRequest]:
    """The prompts of a scheme, one of each item or user, in the order of the store.

    ``id`` is the raw id of the item or user, ``template`` is ``template_of(scheme)``. They are made block by
    block, so memory does not grow with their number. Generated items get no prompt and are in no history.

    Args:
        train: the split whose histories prompts of users are made from. No other split is read, but for
            ``history: earliest``.
    Raises:
        StoreError: at once, where a field or the split is not in the store.
    """
    make = _items if scheme.of == "items" else _users
    return make(scheme, store, train)


def num_requests(scheme: Scheme, store: Store, train: str = "train") -> int:
    """How many prompts ``requests_of`` gives."""
    if scheme.of == "items":
        return len(_asked_items(scheme, store))
    return len(TrainingHistories.of(scheme, store, train).asked)


def template_of(scheme: Scheme) -> str:
    """The name of a scheme and eight digits of all that its prompts say: ``books-cs@1f09c2aa``."""
    said: list[Any] = [
        _system(scheme),
        scheme.user,
        scheme.click,
        scheme.clicks,
        scheme.history,
        schema_of(scheme),
    ]
    said += [scheme.of, scheme.answer.form]
    if (blocks := scheme.blocks) is not None:
        said += [blocks.size, blocks.combine, blocks.then, blocks.line]
    text = json.dumps(said, ensure_ascii=False, sort_keys=True)
    return f"{scheme.name}@{digest_bytes(text.encode())[:8]}"


def format_of(scheme: Scheme) -> AnswerFormat | None:
    """What an answer must look like, for a source that can hold a model to it; None where it is labelled."""
    if scheme.answer.form == "choice":
        (field,) = scheme.answer.fields.values()
        return AnswerFormat(choices=tuple(field.choices or ()))
    return AnswerFormat(schema=schema_of(scheme)) if scheme.answer.form == "json" else None


def schema_of(scheme: Scheme) -> dict[str, Any]:
    """The JSON schema of an answer, as far as it can be said in one."""
    fields = scheme.answer.fields
    return {
        "type": "object",
        "properties": {label_of(name, field): _property(field) for name, field in fields.items()},
        "required": [label_of(name, field) for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }


def _property(field: AnswerField) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    if field.choices is not None:
        text["enum"] = list(field.choices)
    if field.kind == "text":
        return text
    most = {} if field.at_most is None else {"maxItems": field.at_most}
    return {"type": "array", "items": text, "minItems": field.at_least, **most}


def _asked_items(scheme: Scheme, store: Store) -> np.ndarray:
    return np.flatnonzero(~store.items.generated)[: scheme.limit]


def _items(scheme: Scheme, store: Store, train: str) -> Iterator[TextRequest]:
    line = Line(scheme.user, store, store.items)
    rows = _asked_items(scheme, store)
    request = request_maker(scheme)

    def made() -> Iterator[TextRequest]:
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            yield from map(request, store.items.ids.take(part), line.filled(part))

    return made()


def _users(scheme: Scheme, store: Store, train: str) -> Iterator[TextRequest]:
    whole = Line(scheme.user, store, store.users, (HISTORY,))
    click = None if scheme.click is None else Line(scheme.click, store, store.items, (NUMBER,))
    histories = TrainingHistories.of(scheme, store, train)
    request = request_maker(scheme)

    def made() -> Iterator[TextRequest]:
        for start in range(0, len(histories.asked), BLOCK):
            part = histories.asked[start : start + BLOCK]
            shown = histories.clicks.take(part)
            shown = shown if scheme.clicks is None else shown.last(scheme.clicks)
            lines = [] if click is None else click.filled(shown.values, {NUMBER: counted(shown.places)})
            ends = shown.offsets.tolist()
            blocks = ["\n".join(lines[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
            yield from map(request, store.users.ids.take(part), whole.filled(part, {HISTORY: blocks}))

    return made()


def counted(places: np.ndarray) -> list[str]:
    """Places, from 1, as texts."""
    return [str(place + 1) for place in places.tolist()]


def request_maker(scheme: Scheme) -> Callable[[str, str], TextRequest]:
    """Raw id and text of a prompt -> the request."""
    system, name, form = _system(scheme), template_of(scheme), format_of(scheme)
    first = (Message("system", system),) if system else ()
    return lambda raw, text: TextRequest(raw, (*first, Message("user", text)), name, form)


def _system(scheme: Scheme) -> str:
    """The system prompt with the closed lists in place."""
    if "{" not in scheme.system:
        return scheme.system
    parts = []
    for each in parse_template(scheme.system):
        if isinstance(each, Literal):
            parts.append(each.text)
        else:
            parts.append(", ".join(scheme.answer.fields[each.field].choices or ()))
    return "".join(parts)


class Line:
    """A template with the columns of a table that fill it.

    Args:
        given: slots that are filled by whoever asks, and are no fields.
    """

    def __init__(self, template: str, store: Store, table: Table, given: tuple[str, ...] = ()) -> None:
        self.segments = parse_template(template)
        slots = [each.field for each in self.segments if not isinstance(each, Literal)]
        self._columns = {name: column_of(store, table, name) for name in slots if name not in given}

    def filled(self, rows: np.ndarray, given: Mapping[str, list[str]] | None = None) -> list[str]:
        """The template for some rows; each field is cut to its number of words."""
        values = {name: column(rows) for name, column in self._columns.items()}
        parts = [_part(segment, values, given or {}, len(rows)) for segment in self.segments]
        return ["".join(each) for each in zip(*parts, strict=True)]


def filled(template: str, given: Mapping[str, list[str]], count: int) -> list[str]:
    """A template whose slots are all given, ``count`` times."""
    parts = [_part(segment, {}, given, count) for segment in parse_template(template)]
    return ["".join(each) for each in zip(*parts, strict=True)]


def _part(
    segment: Segment, values: Mapping[str, list[str]], given: Mapping[str, list[str]], count: int
) -> list[str]:
    if isinstance(segment, Literal):
        return [segment.text] * count
    if segment.field in given:
        return given[segment.field]
    return [" ".join(text.split()[: segment.budget]) for text in values[segment.field]]


def column_of(store: Store, table: Table, name: str) -> Column:
    """What a field says in some rows, as text: raw texts, the names of categories, numbers.

    Raises:
        StoreError: there is no such field.
    """
    if name in table.text_names:
        return table.text(name).take
    known = [*table.text_names, *(each for each in table.field_names if "@" not in each)]
    if name not in known:
        which = "users" if table is store.users else "items"
        raise StoreError(
            f"{store.path}: its {which} have no field '{name}', which a prompt names; {nearest(name, known)}"
            + ("; process/enrich.py merges profiles" if table is store.users else "")
        )
    field = table.field(name)
    if field.vocabulary is None:
        return lambda rows: [", ".join(f"{value:g}" for value in row) for row in field.rows.take(rows)]
    names = store.vocabulary(field.vocabulary)
    return lambda rows: [", ".join(names[value] for value in row) for row in field.rows.take(rows)]
