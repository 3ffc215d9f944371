"""A scheme's settings say one thing each, and read back as they were saved."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from legorec.settings.scheme import SchemeSettings
from tests.support.schemes import INVENTED, PROFILES, TITLES, scheme


@pytest.mark.parametrize("tree", [TITLES, PROFILES, INVENTED], ids=lambda tree: tree["name"])
def test_saved_settings_read_back(tree: dict[str, Any]) -> None:
    first = scheme(tree)
    assert SchemeSettings.model_validate(first.model_dump()) == first


@pytest.mark.parametrize(
    ("tree", "changed", "message"),
    [
        (TITLES, {"user": "no slot {"}, "a template names a field as"),
        (TITLES, {"user": "no slot"}, "a template names at least one field"),
        (TITLES, {"makes": "items"}, "`makes` goes with `of: users` alone"),
        (TITLES, {"least": 2}, "`least` goes with `of: users` alone"),
        (PROFILES, {"click": None}, "`click`, the line of each click, and the slot"),
        (PROFILES, {"least": 3, "most": 2}, r"`least` must be at most `most` \(2\), got 3"),
        (PROFILES, {"system": "of {interests}"}, "`system` may hold the choices .* not {interests}"),
        (TITLES, {"answer": {"form": "choice", "fields": {"a": {}}}}, "has one field, with `choices`"),
        (TITLES, {"answer": {"form": "text", "fields": {"a": {}, "b": {}}}}, "one field, a text without"),
        (TITLES, {"answer": {"form": "json", "fields": {"a": {}, "b": {"label": "A"}}}}, "labels of two"),
        (TITLES, {"answer": {"form": "json", "fields": {"a": {"at_most": 2}}}}, "go with `kind: list` alone"),
        (
            TITLES,
            {"answer": {"form": "json", "fields": {"a": {"kind": "list", "at_least": 3, "at_most": 2}}}},
            "`at_least` must be at most",
        ),
        (
            TITLES,
            {"answer": {"form": "json", "fields": {"a": {"choices": ["x", "X"]}}}},
            "more than capitals",
        ),
        (TITLES, {"colour": 1}, "colour"),
        (
            INVENTED,
            {"answer": {"form": "json", "fields": {"a": {"otherwise": "title"}}}},
            "`otherwise` goes with texts of the items alone",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tree: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        scheme(tree, **changed)
