"""References in text and alone: what they become, and what is said of those that lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from legorec.compose.problems import Problem
from legorec.compose.references import References, split


def resolved(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The tree without references, and the messages."""
    problems: list[Problem] = []
    found = References(tree, lambda place: "here", problems).resolve()
    return found, [f"{each.place}: {each.message}" for each in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${n}$", 3), ("${n}", "3"), ("x${n}y", "x3y"), ("${n}${n}", "33"), ("${none}$", None),
        ("${none}", "null"), ("a-${none}", "a-null"), ("a-${yes}", "a-true"),
        ("${block.list}$", [1, "two"]), ("${block.list.1}$", "two"), ("${block}$", {"list": [1, "two"]}),
        ("${other:1e-3}$", 1e-3), ("${other:small}", "small"), ("${other:${n}}$", 3),
        ("${other:${another:64}}$", 64), ("${n:${another:64}}$", 3), ("${other:}$", None),
        ("${other:[1, 2]}", "[1, 2]"), ("a${other:b}c${n}", "abc3"), ("${alias.list.0}$", 1),
        ("$5 {n}", "$5 {n}"), ("${other:a:b}", "a:b"), ("${other:a|b}$", "a|b"),
        ("${text}/${text}", "v3/v3"),
    ],
)  # fmt: skip
def test_references(text: str, value: Any) -> None:
    tree = {
        "n": 3,
        "none": None,
        "yes": True,
        "block": {"list": [1, "two"]},
        "alias": "${block}$",
        "text": "v${n}",
    }
    found, messages = resolved({**tree, "a": text})
    assert messages == []
    assert found["a"] == value and type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("tree", "messages"),
    [
        ({"a": "${b}$"}, ["a: ${b} is not set: give --b, or a default as in ${b:value}$"]),
        ({"a": "${bb}", "bbb": 1}, ["did you mean 'bbb'?"]),
        ({"data": {"keys": 1}, "a": "${data.items}"}, ["a: ${data.items} is not set: write it"]),
        ({"data": {"name": "x"}, "a": "${data.name.upper}$"}, ["${data.name.upper} is not set"]),
        ({"a": "${b}$", "b": "${a}$"}, ["refers to itself in a circle"]),
        ({"a": "${a}"}, ["a: refers to itself in a circle, through ${a}"]),
        ({"a": {"x": "${a}$"}}, ["a: refers to itself in a circle"]),
        (
            {"a": "${b}$", "b": "${a}$", "c": "${d}$", "d": "${c}", "e": "${f}"},
            ["e: ${f}", "circle", "circle"],
        ),
        ({"a": "${b"}, ["a: the brace of a reference is not closed in '${b'"]),
        ({"a": "${}"}, ["a: '${}' is not a reference"]),
        ({"a": "${b c}"}, ["a: '${b c}' is not a reference"]),
        ({"a": "${b|int}$", "b": "3"}, ["is not a reference"]),
        ({"a": "${b..c}"}, ["is not a reference"]),
        ({"a": "x${b}", "b": [1]}, ["a: a block or list cannot be part of a text"]),
        ({"title@${lm:words}": 1, "title@words": 2}, ["is the second key that becomes 'title@words'"]),
        ({"x@${b}": 1, "b": "${c:1}"}, ["a reference in a key must lead to a plain value"]),
    ],
)
def test_references_that_lead_nowhere_are_told_with_their_place(
    tree: dict[str, Any], messages: list[str]
) -> None:
    told = resolved(tree)[1]
    assert len(told) == len(messages)
    for part, message in zip(messages, told, strict=True):
        assert part in message


def test_a_key_may_be_named_like_an_argument_of_refconfig() -> None:
    assert resolved({"t": 3, "self": 4, "a": "${t}$${self}"}) == ({"t": 3, "self": 4, "a": "3$4"}, [])


def test_split_tells_typed_from_text() -> None:
    assert split("${a}$")[1] and not split("${a}")[1] and not split("${a}$b")[1] and not split("${a}${b}$")[1]
