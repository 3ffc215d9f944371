"""Which untrained scorers a run gets, what they are called, and that they read training clicks alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from legorec.batch import TokenVectors
from legorec.data.catalog import Catalog
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.engine.rank import rank
from legorec.recipes.inputs.baselines import left_out, states_mean, untrained_scorers, words_mean
from legorec.recipes.inputs.store_data import open_data
from legorec.settings import Settings, read_command_line
from legorec.settings.resolved import GROWN
from tests.support import small
from tests.support.runs import arguments


def opened(store: Path, tmp_path: Path, **flags):
    settings = read_command_line(arguments(store, tmp_path, **flags))
    return open_data(settings), settings


def test_each_has_a_row_and_what_lacks_something_is_said(store, tmp_path):
    data, settings = opened(store, tmp_path)
    assert list(untrained_scorers(data, "test", settings)) == [
        "random", "popularity", "cosine_tfidf", "item_knn",
    ]  # fmt: skip
    (line,) = left_out(data, settings)
    assert line.startswith("no baseline most_recent: ") and line.endswith("split 'train', holds no times")
    data, settings = opened(store, tmp_path, data__fields="{category: {}}", exp__baselines="[cosine]")
    assert untrained_scorers(data, "test", settings) == {}
    assert left_out(data, settings) == [
        "no baseline cosine: `data.fields` names no text, and no vectors are given"
    ]
    data, settings = opened(store, tmp_path, exp__baselines="[likes_ratio]")
    assert untrained_scorers(data, "test", settings) == {}
    assert left_out(data, settings) == [f"no baseline likes_ratio: no click of {store} has the mark 'liked'"]


def test_given_vectors_have_a_cosine_each_called_after_what_it_compares(store, tmp_path):
    data, _ = opened(store, tmp_path)
    rng = np.random.default_rng(0)
    size = data.catalog.vocabularies["words"]
    for name, rows in (("words", size), ("items", data.num_items)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(rows, 6)).astype(np.float32))
    tables = ", ".join(f"{{vocabulary: {name}, path: {tmp_path}/{name}.npy}}" for name in ("words", "items"))
    data, settings = opened(store, tmp_path, embed__tables=f"[{tables}]", exp__baselines="[cosine]")
    found = untrained_scorers(data, "test", settings)
    assert list(found) == ["cosine_tfidf", "cosine_words", "cosine_vectors"]
    rankings = [rank(each).score for each in found.values()]
    assert all(not np.allclose(one, other) for one, other in zip(rankings, rankings[1:], strict=False))


def test_words_are_averaged_without_categories():
    catalog = small.catalog()
    table = torch.randn(40, 3, dtype=torch.float64).numpy()
    found = words_mean(catalog, {"words": TokenVectors(table)})
    tokens = catalog.tokens(torch.arange(catalog.num_items))
    ids, start = tokens.ids.tolist(), 0
    for item, (title, category) in enumerate(tokens.lengths.tolist()):
        own = [ids[place] - catalog.base["words"] for place in range(start, start + title)]
        wanted = table[own].mean(0) if own else np.zeros(3)
        assert np.allclose(found[item], wanted, atol=1e-6)
        start += title + category
    assert isinstance(catalog, Catalog)


def test_states_are_asked_for_what_the_split_needs():
    asked = []

    class Source:
        def untrained(self, items):
            asked.extend(items.tolist())
            return items[:, None].float() + torch.arange(2)

    shown = small.impressions(count=3)
    found = states_mean(Source(), shown)
    assert found.shape == (small.NUM_ITEMS, 2) and sorted(asked) == asked and len(asked) < small.NUM_ITEMS
    assert torch.equal(found[asked, 1], torch.tensor(asked) + 1.0)


def timed_store(path: Path, leak: bool) -> Path:
    """Impressions with times. A leak adds clicks and later times to dev and test, and to nothing else."""
    rng = np.random.default_rng(4)
    ids = [f"i{number}" for number in range(30)]
    items = pl.DataFrame({"id": ids, "title": [f"w{number % 7} w{number % 5}" for number in range(30)]})
    with StoreWriter(path, {"processor": "tests"}, [TokenizerChoice("words")]) as writer:
        writer.items(items, [Column("title", "text")])
        for number, split in enumerate(("train", "dev", "test")):
            clicked = rng.permuted(np.tile(np.arange(30), (40, 1)), axis=1)[:, :4]
            labels = [[1, 0, 0, 0]] * 40
            if leak and split != "train":
                labels = [[1, 1, 1, 1]] * 40
            frame = pl.DataFrame(
                {
                    "user": [f"u{row % 12}" for row in range(40)],
                    "history": [[f"i{row % 30}", f"i{row % 7}"] for row in range(40)],
                    "candidates": [[ids[item] for item in row] for row in clicked],
                    "labels": labels,
                    "time": (rng.integers(0, 50, 40) + 1000 * number * leak).tolist(),
                }
            )
            writer.impressions(split, frame)
    return path


@pytest.mark.parametrize("split", ["dev", "test"])
def test_what_dev_and_test_hold_changes_no_score(tmp_path, split):
    found = []
    for leak in (False, True):
        store = timed_store(tmp_path / f"store{leak}", leak)
        data, settings = opened(store, tmp_path, data__fields="{title@words: {}}")
        scorers = untrained_scorers(data, split, settings)
        assert list(scorers) == ["random", "popularity", "most_recent", "cosine_tfidf", "item_knn"]
        assert left_out(data, settings) == []
        found.append({name: rank(scorer).score for name, scorer in scorers.items()})
    for name, score in found[0].items():
        assert np.array_equal(score, found[1][name]), name
        assert len(np.unique(score)) > 3, name


def test_the_list_has_grown_and_the_digest_has_not(store, tmp_path):
    default, before = GROWN["exp.baselines"]
    settings = read_command_line(arguments(store, tmp_path))
    assert settings.exp.baselines == default
    earlier: Settings = replace(settings, exp=settings.exp.model_copy(update={"baselines": before}))
    fewer = replace(settings, exp=settings.exp.model_copy(update={"baselines": before[:1]}))
    assert settings.digest() == earlier.digest() != fewer.digest()
