"""Prompts say what the store holds, in its order, and know no click of dev or test."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from legorec.data.store import Store, StoreError
from legorec.texts.schemes import format_of, num_requests, requests_of, template_of
from tests.support.schemes import INVENTED, PROFILES, TITLES, scheme
from tests.support.small_store import COLUMNS, DEV, ITEMS, TRAIN, WORDS, StoreWriter, write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write(tmp_path_factory.mktemp("schemes") / "store")


def test_prompts_of_items(store: Store) -> None:
    found = list(requests_of(scheme(TITLES), store))
    assert [each.id for each in found] == ["a", "b", "c", "é", "x"]
    assert [(each.role, each.content) for each in found[0].messages] == [
        ("system", "You are a librarian."),
        ("user", "[title] Hello, world [category] news [genres] q, r [price] 1.5"),
    ]
    assert found[2].messages[1].content == "[title] A b [category] sport [genres]  [price] 2"
    assert found[1].messages[1].content == "[title]  [category]  [genres]  [price] "
    assert num_requests(scheme(TITLES), store) == 5 == 2 + num_requests(scheme(TITLES, limit=3), store)
    assert [each.id for each in requests_of(scheme(TITLES, limit=3), store)] == ["a", "b", "c"]


def test_prompts_of_users_show_the_last_training_history(store: Store) -> None:
    (found,) = requests_of(scheme(PROFILES), store)  # v has no click before its only impression
    # The latest training impression of u is the one of time 8, with [a]; that of time 7 had [a, b].
    assert found.id == "u"
    assert [each.content for each in found.messages] == [
        "Choose from: news, sport.",
        "Clicks:\n(1) Hello, world {news}",
    ]
    cold = list(requests_of(scheme(PROFILES, least=0), store))
    assert [each.id for each in cold] == ["u", "v"] and cold[1].messages[1].content == "Clicks:\n"
    assert list(requests_of(scheme(PROFILES, least=2), store)) == []
    (earlier,) = requests_of(scheme(PROFILES, least=2, history="first"), store)
    assert earlier.messages[1].content == "Clicks:\n(1) Hello, world {news}\n(2)  {}"
    (cut,) = requests_of(scheme(PROFILES, least=2, history="first", clicks=1), store)
    assert cut.messages[1].content == "Clicks:\n(1)  {}"
    assert num_requests(scheme(PROFILES, most=1), store) == 1


def test_a_click_of_dev_or_test_changes_no_prompt(store: Store, tmp_path: Path) -> None:
    planted = pl.DataFrame(
        {
            "user": ["u", "v", "w"],
            "history": [["x", "é", "é"], ["x"], ["x"]],
            "candidates": [["x"], ["x"], ["x"]],
            "labels": [[1], [1], [1]],
        }
    )
    with StoreWriter(tmp_path / "planted", {"processor": "small"}, [WORDS]) as writer:
        writer.items(ITEMS, COLUMNS)
        writer.impressions("train", TRAIN)
        writer.impressions("dev", pl.concat([DEV, planted]))
        writer.impressions("test", planted)
    for tree in (PROFILES, INVENTED):
        for least in (0, 1):
            asked = scheme(tree, least=least)
            with_them = [
                each for each in requests_of(asked, Store.open(tmp_path / "planted")) if each.id != "w"
            ]
            assert with_them == list(requests_of(asked, store))


def test_a_template_has_a_name_of_its_own() -> None:
    names = {
        template_of(each)
        for each in (
            scheme(PROFILES),
            scheme(PROFILES, user="Clicked:\n{history}"),
            scheme(PROFILES, click="{title}"),
            scheme(PROFILES, system="Choose: {topics}."),
            scheme(PROFILES, clicks=3),
            scheme(PROFILES, history="first"),
        )
    }
    assert len(names) == 6 and all(name.startswith("profiles@") for name in names)
    assert template_of(scheme(PROFILES)) == template_of(scheme(PROFILES, limit=1, most=9))


def test_an_answer_s_format() -> None:
    assert format_of(scheme(TITLES)) is None
    invented = format_of(scheme(INVENTED))
    assert invented is not None and invented.schema == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "category": {"type": "string", "enum": ["news", "sport"]},
        },
        "required": ["title"],
        "additionalProperties": False,
    }
    one = {"form": "choice", "fields": {"mood": {"choices": ["glad", "sad"]}}}
    chosen = format_of(scheme(TITLES, answer=one))
    assert chosen is not None and chosen.choices == ("glad", "sad")


def test_what_the_store_lacks_is_refused_at_once(store: Store) -> None:
    with pytest.raises(StoreError, match="its items have no field 'tilte', .* did you mean 'title'"):
        requests_of(scheme(TITLES, user="{tilte}"), store)
    with pytest.raises(StoreError, match=r"its users have no field 'topics', .*process/enrich.py"):
        requests_of(scheme(PROFILES, user="{topics} {history}"), store)
    with pytest.raises(StoreError, match="there is no split 'trian'"):
        requests_of(scheme(PROFILES), store, "trian")
