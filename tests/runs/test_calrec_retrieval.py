"""CALRec finds items by what it says: trained, and measured among all items in the same run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recipes.test_calrec import command, purchases
from tests.support.launching import one_thread
from tests.support.runs import finish

FLAGS = {
    "candidates": "full",
    "mask_history": False,
    "model__retrieval": "{num_texts: 4, max_tokens: 4, temperature: 0.5}",
    "exp__baselines": "[random, popularity, repeat_last, bm25_last]",
}


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


def test_texts_of_a_tuned_model_find_the_next_item(tmp_path: Path) -> None:
    store = purchases(tmp_path / "purchases", 80)
    run = finish(command(store, tmp_path / "runs", "calrec-tune", epoch=6, **FLAGS))
    found = json.loads((run / "metrics.json").read_text())
    own, baselines = found["test"], found["baselines"]
    assert own["among"] == "among all items" and own["groups"] == 40
    for name in ("random", "popularity", "repeat_last", "bm25_last"):
        assert own["metrics"]["recall@10"] > baselines[name]["metrics"]["recall@10"], name
