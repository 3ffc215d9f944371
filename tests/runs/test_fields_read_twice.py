"""A whole run that reads a title twice: its first words, and its last ones with vectors of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import legorec
from legorec.data.store import Store
from tests.support.runs import arguments, finish, refused

FIELDS = "{title@words: {max_length: 4}, end: {column: title@words, max_length: 2, keep: last}, category: {}}"


@pytest.fixture(scope="module")
def flags(store, tmp_path_factory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("twice") / "end.npy"
    size = Store.open(store).items.field("title@words").vocab_size
    np.save(path, np.random.default_rng(0).normal(size=(size, 16)).astype(np.float32))
    return {"data__fields": FIELDS, "embed__tables": f"[{{field: end, path: {path}, dropout: 0.2}}]"}


@pytest.fixture(scope="module")
def done(store, flags, tmp_path_factory) -> Path:
    return finish(
        arguments(store, tmp_path_factory.mktemp("runs"), model="lego_naml", exp="tt-naml", epoch=1, **flags)
    )


def test_the_tables_are_apart(store, done):
    trained = legorec.load(done, device="cpu")
    source, data = trained.model.source, trained.data
    assert list(source.given) == ["field end"] and source.given["field end"].dropout.rate == 0.2
    words = data.store.items.field("title@words").rows
    row = int(np.argmax(words.lengths))
    states = source.embed(data.catalog.tokens(torch.tensor([row])))
    assert torch.equal(states.select(1)[0], source.given["field end"].weight[words[row][-2:].tolist()])


def test_a_new_item_is_read_as_a_known_one(done):
    """Both readings are filled from the one text."""
    trained = legorec.load(done, device="cpu")
    items = trained.data.store.items
    names = trained.data.store.vocabulary("category")
    known = [0, 5, 9]
    new = [
        {"title": items.text("title")[row], "category": names[items.field("category").rows[row][0]]}
        for row in known
    ]
    scores = [trained.score([items.ids[3]], each) for each in ([items.ids[row] for row in known], new)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="a new item has the field 'end'; the model reads title, category"):
        trained.score([], [{"end": "x"}])


def test_a_run_is_tested_with_the_columns_that_it_learned(store, done, tmp_path, capsys):
    for field, message in (
        ("{column: title@words, own_table: true}", "data.fields.end.own_table False, asked for is True"),
        ("{column: category}", "data.fields.end.column 'title@words', asked for is 'category'"),
    ):
        fields = FIELDS.replace("{column: title@words, max_length: 2, keep: last}", field)
        changed = {"data__fields": fields, "embed__tables": "[]", "exp": "test", "load": done}
        refused(arguments(store, tmp_path, model="lego_naml", **changed), capsys, message)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            "[{field: ende, path: PATH}]",
            "names the field 'ende', which is none of `data.fields`",
        ),
        ("[{field: end, vocabulary: words, path: PATH}]", "a table is of a `vocabulary` or of a `field`"),
        ("[{path: PATH}]", "a table is of a `vocabulary` or of a `field`"),
        ("[{field: end, path: PATH}, {field: end, path: PATH}]", "'field end' is named twice"),
        ("[{field: category, path: PATH}]", "rows, the vocabulary 'category' has 4"),
        ("[{field: end, path: PATH, dropout: 1.0}]", "dropout: must be below 1, got 1.0"),
    ],
)
def test_tables_that_fit_nothing_are_refused(store, flags, tmp_path, capsys, tables, message):
    path = flags["embed__tables"].partition("path: ")[2].partition(",")[0]
    given = {**flags, "embed__tables": tables.replace("PATH", path)}
    refused(arguments(store, tmp_path, model="lego_naml", exp="tt-naml", **given), capsys, message)
