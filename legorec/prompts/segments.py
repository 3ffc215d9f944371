"""The segments that a prompt is made of, in order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSegment:
    """The same text in every prompt; control tokens of the tokenizer may be spelled in it."""

    name: str
    text: str


@dataclass(frozen=True)
class ItemSegment:
    """The candidate, by a template of its fields, see ``legorec.template``."""

    name: str
    template: str


@dataclass(frozen=True)
class HistorySegment:
    """Items of the history, oldest first, by a template of their fields.

    Args:
        separator: between two of them.
        marks: the marks of the clicks that stand here, such as ``liked``; empty: all clicks.
        last: at most so many, the latest ones, 0 for none; None: all.
        budget: tokens at most; the oldest items are left out first. None: what the whole prompt allows.
        empty: what stands here where there is no item.
    """

    name: str
    template: str
    separator: str = ", "
    marks: tuple[str, ...] = ()
    last: int | None = None
    budget: int | None = None
    empty: str = ""


@dataclass(frozen=True)
class UserSegment:
    """What a field of the user says, such as a summary of the clicks.

    Args:
        field: of the users; None: nothing is known of anybody, as in an ablation.
        budget: tokens at most, the first ones; None: all.
        empty: what stands here for a user of whom the field says nothing.
    """

    name: str
    field: str | None
    budget: int | None = None
    empty: str = ""


@dataclass(frozen=True)
class AnswerSegment:
    """What the model is to say: one text for a click, one for none. The last segment of a prompt."""

    name: str
    positive: str
    negative: str


@dataclass(frozen=True)
class ResponseSegment:
    """What the model is to say, in free text: a template of the candidate's fields. The last segment."""

    name: str
    template: str


Segment = TextSegment | ItemSegment | HistorySegment | UserSegment | AnswerSegment | ResponseSegment
OfItems = ItemSegment | HistorySegment | ResponseSegment  # those with a template
