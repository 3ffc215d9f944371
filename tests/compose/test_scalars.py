"""Scalars are those of YAML 1.2, in files, on the command line and in defaults, written and read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legorec.compose import to_yaml
from legorec.compose.documents import parse_text
from legorec.compose.problems import Problem
from legorec.compose.scalars import cast
from tests.compose.test_references import resolved


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-4", -4), ("+3", 3), (".5", 0.5), ("2.", 2.0), ("0x1f", 31),
        ("0o17", 15), ("null", None), ("~", None), ("", None), ("true", True), ("False", False), ("no", "no"),
        ("on", "on"), ("1_000", "1_000"), ("12L", "12L"), ("7b", "7b"), ("1e", "1e"), ("007", 7),
        ("2020-01-01", "2020-01-01"),
        ("9" * 5000, "9" * 5000), ("cuda:0", "cuda:0"), ("12:30", "12:30"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2_everywhere(text: str, value: Any) -> None:
    assert cast(text) == value and type(cast(text)) is type(value)
    if len(text) < 100:
        assert parse_text(f"a: {text}", "x.yaml", []).tree == {"a": value}
        assert resolved({"a": "${b:" + text + "}$"})[0] == {"a": value}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text("1e-.+x: ~nulotrue#'\"$"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab-1e:# ", min_size=1), inner),
        max_leaves=8,
    )
)
def test_what_is_written_reads_back_the_same(tree: Any) -> None:
    problems: list[Problem] = []
    found = parse_text(to_yaml({"top": tree}), "x.yaml", problems).tree
    assert problems == [] and found == {"top": tree}
    assert repr(found) == repr({"top": tree})
