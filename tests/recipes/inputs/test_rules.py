"""Filters over a store: users by file or field, items by field, each against the values themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from legorec.data.store import Store
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.recipes.inputs.rules import rule_of
from legorec.settings.filters import FilterSettings

ITEMS = {
    "id": ["a", "b", "c", "d"],
    "title": ["w x", "x", "", "y"],
    "kind": ["news", "tv", None, "news"],
    "tags": [["p", "q"], ["q"], [], ["r"]],
    "price": [1.0, 2.5, None, 4.0],
}
USERS = {"id": ["u1", "u2", "u3"], "sex": ["f", None, "m"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("rules") / "store"
    with StoreWriter(path, {}) as writer:
        writer.items(
            pl.DataFrame(ITEMS),
            [
                Column("title", "text"),
                Column("kind", "category"),
                Column("tags", "categories"),
                Column("price", "number"),
            ],
        )
        writer.users(pl.DataFrame(USERS), [Column("sex", "category")])
        frame = pl.DataFrame({"user": ["u1"], "history": [["a"]], "candidates": [["b"]], "labels": [[1]]})
        writer.impressions("train", frame)
    return Store.open(path)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"item_field": "kind", "only": ["news"]}, "ad"),
        ({"item_field": "kind", "without": ["news"]}, "bc"),
        ({"item_field": "kind", "without": ["tv", "news"]}, "c"),
        ({"item_field": "tags", "only": ["p", "r"]}, "ad"),
        ({"item_field": "tags", "without": ["q"]}, "cd"),
        ({"item_field": "price", "at_least": 2.5}, "bd"),
        ({"item_field": "price", "at_most": 2.5}, "ab"),
        ({"item_field": "price", "at_least": 2.0, "at_most": 3.0}, "b"),
    ],
)
def test_items_by_a_field(store: Store, asked: dict, kept: str) -> None:
    rule = rule_of(FilterSettings(**asked), store)
    assert rule.users is None and rule.history is None
    assert "".join(np.array(ITEMS["id"])[rule.items]) == kept


@pytest.mark.parametrize(("asked", "kept"), [({"only": ["f"]}, ["u1"]), ({"without": ["f"]}, ["u2", "u3"])])
def test_users_by_a_field(store: Store, asked: dict, kept: list[str]) -> None:
    rule = rule_of(FilterSettings(user_field="sex", **asked), store)
    assert np.array(USERS["id"])[rule.users].tolist() == kept and rule.items is None


def test_users_of_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("u3\nu9\nu1\n")
    rule = rule_of(FilterSettings(users=str(tmp_path / "some.txt")), store)
    assert rule.users.tolist() == [True, False, True]
    assert rule.said.endswith("some.txt, which names 2 of its users in 3 ids,")
    (tmp_path / "some.txt").write_text("3.0\n1.0\n")
    with pytest.raises(ValueError, match=r"none of the 2 ids of .* e\.g\. '3\.0', and that store has 'u1'"):
        rule_of(FilterSettings(users=str(tmp_path / "some.txt")), store)
    (tmp_path / "some.txt").write_text("U3\nU1\n")
    with pytest.raises(ValueError, match="differ in capitals"):
        rule_of(FilterSettings(users=str(tmp_path / "some.txt")), store)


def test_a_history_is_a_range(store: Store) -> None:
    rule = rule_of(FilterSettings(min_history=1, max_history=3), store)
    kept = rule.keeps(np.zeros(5, dtype=np.int64), np.arange(5))
    assert kept.tolist() == [False, True, True, True, False]
    assert rule_of(FilterSettings(max_history=0), store).keeps(np.zeros(2, int), np.arange(2)).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"item_field": "kind", "only": ["sport"]}, r"'kind' has no value 'sport' in .*There are: news, tv"),
        ({"item_field": "kind", "only": ["new"]}, "did you mean 'news'?"),
        ({"item_field": "kinds", "only": ["tv"]}, "there is no field 'kinds'; did you mean 'kind'?"),
        ({"user_field": "kind", "only": ["tv"]}, "there is no field 'kind'; There are: sex"),
        ({"item_field": "kind", "at_least": 1.0}, "is a category, which is filtered by only or without"),
        ({"item_field": "tags", "at_least": 1.0}, "is a list of categories, which is filtered by only"),
        ({"item_field": "price", "only": ["1"]}, "is a number, which is filtered by at_least or at_most"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_store_is_refused(store: Store, asked: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        rule_of(FilterSettings(**asked), store)
