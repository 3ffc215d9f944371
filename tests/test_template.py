"""Templates: what is a slot, what is text, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legorec.template import Literal, Segment, Slot, parse_template

FIELDS = st.sampled_from(["title", "sub-category", "_x9", "Ü"])
MISSING = st.sampled_from(["", "Unknown", "a: b|c"])
SLOTS = st.builds(Slot, FIELDS, st.none() | st.integers(1, 999), MISSING)
LITERALS = st.builds(Literal, st.text("ab {}:\n[CLS]é", min_size=1, max_size=8))


def written(segments: list[Segment]) -> str:
    parts = []
    for each in segments:
        if isinstance(each, Literal):
            parts.append(each.text.replace("{", "{{").replace("}", "}}"))
        else:
            budget = "" if each.budget is None else f":{each.budget}"
            missing = each.missing and f"|{each.missing}"
            parts.append(f"{{{each.field}{budget}{missing}}}")
    return "".join(parts)


@given(st.lists(SLOTS | LITERALS, max_size=6), SLOTS)
def test_what_is_written_is_read(segments: list[Segment], last: Slot) -> None:
    joined: list[Segment] = []
    for each in [*segments, last]:
        before = joined[-1] if joined else None
        if isinstance(each, Literal) and isinstance(before, Literal):
            joined[-1] = Literal(before.text + each.text)
        else:
            joined.append(each)
    assert parse_template(written(joined)) == tuple(joined)


def test_a_template() -> None:
    found = parse_template("Title: {title:20} {{x}}")
    assert found == (Literal("Title: "), Slot("title", 20), Literal(" {x}"))


@pytest.mark.parametrize(
    "piece", ["{}", "{title:0}", "{title:}", "{title:-1}", "{a b}", "{title:x}", "{", "}", "{a.b}"]
)
def test_what_is_no_slot_is_named(piece: str) -> None:
    with pytest.raises(ValueError, match=r"a template names a field as \{title\} or, with at most") as told:
        parse_template("{title} " + piece)
    assert f"got '{piece}'" in str(told.value)


@pytest.mark.parametrize("text", ["", "Title", "{{title}}"])
def test_a_template_names_a_field(text: str) -> None:
    with pytest.raises(ValueError, match="a template names at least one field, as in"):
        parse_template(text)
