"""Text templates such as ``Title: {title:20} Brand: {brand|Unknown}``: literals, and fields."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"(?P<name>[\w-]+)(:(?P<budget>\d+))?(\|(?P<missing>.+))?", re.DOTALL)
_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")


@dataclass(frozen=True)
class Literal:
    """The same text for every item."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A field's text, of which the first ``budget`` tokens are used; None uses all.

    ``missing`` is what stands in the place of an empty one.
    """

    field: str
    budget: int | None
    missing: str = ""


Segment = Literal | Slot


def parse_template(template: str) -> tuple[Segment, ...]:
    """The segments of a template, in order; ``{{`` and ``}}`` stand for braces.

    Raises:
        ValueError: an unmatched brace, a slot that is not ``{field}``, ``{field:budget}`` or
            ``{field|text}``, a budget of 0, or no slot at all.
    """
    segments: list[Segment] = []
    literal = ""
    for piece in _PIECE.findall(template):
        if piece in ("{{", "}}"):
            literal += piece[0]
        elif not piece.startswith(("{", "}")):
            literal += piece
        else:
            found = _FIELD.fullmatch(piece[1:-1]) if len(piece) > 1 else None
            if found is None or found["budget"] == "0":
                raise ValueError(
                    f"a template names a field as {{title}} or, with at most 20 tokens, {{title:20}}; got "
                    f"'{piece}' (write {{{{ for a brace)"
                )
            segments += [Literal(literal)] if literal else []
            literal = ""
            budget = int(found["budget"]) if found["budget"] else None
            segments.append(Slot(found["name"], budget, found["missing"] or ""))
    segments += [Literal(literal)] if literal else []
    if not any(isinstance(segment, Slot) for segment in segments):
        raise ValueError(
            f"a template names at least one field, as in 'Title: {{title:20}}'; got '{template}'"
        )
    return tuple(segments)
