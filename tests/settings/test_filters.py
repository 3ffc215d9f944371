"""A filter says one thing, and everything else that is said is answered in one line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from legorec.settings import read_command_line
from legorec.settings.filters import FilterSettings
from tests.support.runs import arguments

RIGHT = [
    ({"min_history": 1}, "min_history 1"),
    ({"min_history": 2, "max_history": 2}, "min_history 2 max_history 2"),
    ({"users": "some.txt", "splits": ["train"]}, "users some.txt"),
    ({"user_field": "gender", "only": ["F", "X"]}, "user_field gender only F, X"),
    ({"item_field": "category", "without": ["tv"]}, "item_field category without tv"),
    ({"item_field": "price", "at_least": 0.5, "at_most": 9.0}, "item_field price at_least 0.5 at_most 9"),
]
ONE = "a filter is about one thing"
WRONG = [
    ({}, f"{ONE}.*; got none"),
    ({"splits": ["dev"]}, f"{ONE}.*; got none"),
    ({"min_history": 1, "users": "x"}, f"{ONE}.*; got min_history or max_history and users"),
    ({"user_field": "a", "item_field": "b", "only": ["c"]}, f"{ONE}.*; got user_field and item_field"),
    ({"user_field": "a"}, "`user_field` needs one of `only`, `without`, and `at_least` or `at_most`"),
    ({"item_field": "a", "only": ["x"], "without": ["y"]}, "`item_field` needs one of"),
    ({"item_field": "a", "only": ["x"], "at_most": 1.0}, "`item_field` needs one of"),
    ({"min_history": 1, "only": ["x"]}, "go with `user_field` or `item_field` alone"),
    ({"min_history": 3, "max_history": 2}, r"`min_history` must be at most `max_history` \(2\), got 3"),
    ({"item_field": "a", "at_least": 2.0, "at_most": 1.0}, "`at_least` must be at most `at_most`"),
    ({"min_history": -1}, "greater than or equal to 0"),
    ({"item_field": "a", "only": []}, "at least 1"),
    ({"min_history": 1, "splits": ["valid"]}, "'train', 'dev' or 'test'"),
    ({"min_histroy": 1}, "not permitted"),
]


@pytest.mark.parametrize(("block", "said"), RIGHT)
def test_a_filter_says_itself(block, said):
    found = FilterSettings(**block)
    assert found.said() == said
    assert found.splits == block.get("splits", ["train", "dev", "test"])


@pytest.mark.parametrize(("block", "message"), WRONG)
def test_what_is_no_filter_is_refused(block, message):
    with pytest.raises(ValidationError, match=message):
        FilterSettings(**block)


def settings(tmp_path, *filters: str):
    return read_command_line(
        arguments(tmp_path, tmp_path, **({"data.filters": filters[0]} if filters else {}))
    )


def test_a_run_without_filters_is_the_run_of_before(tmp_path):
    plain = settings(tmp_path)
    assert plain.dump()["data"]["filters"] == []
    assert plain.digest() == settings(tmp_path, "[]").digest()
    one, other = (settings(tmp_path, f"[{{min_history: {least}}}]") for least in (1, 2))
    assert len({each.digest() for each in (plain, one, other)}) == 3
    assert one.data.filters == [FilterSettings(min_history=1)]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[{min_histroy: 1}]", ["data.filters.0.min_histroy", "did you mean 'min_history'?"]),
        ("[{min_history: 1}, {users: no.txt}]", ["data.filters.1.users: no file no.txt", "one a line"]),
        ("{min_history: 1}", ["data.filters: must be a list"]),
        ("[{item_field: a, only: [1]}]", ["data.filters.0.only.0: must be text, got 1"]),
        ("[{splits: [dev]}]", ["data.filters.0: a filter is about one thing"]),
        (
            "[{min_history: 1, splits: [tset]}]",
            ["data.filters.0.splits.0", "did you mean 'test'?"],
        ),
    ],
)
def test_mistakes_have_their_place(text, messages, tmp_path):
    with pytest.raises(ValueError) as error:
        settings(tmp_path, text)
    for message in messages:
        assert message in str(error.value)
