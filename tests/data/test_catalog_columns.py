"""One column of a store read several times, each cut in its own way and, if asked, in a table of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from legorec.data.catalog import Catalog
from legorec.data.store import Store, StoreError
from legorec.settings import FieldSettings
from tests.support.small_store import write

READINGS = {
    "title@words": FieldSettings(max_length=2),
    "end": FieldSettings(column="title@words", max_length=1, keep="last"),
    "alone": FieldSettings(column="title@words", own_table=True),
    "letters": FieldSettings(column="title@chars"),
    "cost": FieldSettings(column="price"),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store")


def test_every_reading_is_its_column_cut_in_its_way(store: Store) -> None:
    found = Catalog.from_store(store, READINGS)
    assert [(part.name, part.stored, part.kind) for part in found.fields] == [
        ("title@words", "title@words", "text"), ("end", "title@words", "text"),
        ("alone", "title@words", "text"), ("letters", "title@chars", "text"), ("cost", "price", "number"),
    ]  # fmt: skip
    words, chars, prices = (store.items.field(name) for name in ("title@words", "title@chars", "price"))
    size, letters = words.vocab_size, chars.vocab_size
    assert found.vocabularies == {"words": size, "field alone": size, "chars": letters, "number cost": 1}
    for item in range(len(store.items)):
        row = words.rows[item].tolist()
        expected = row[:2] + row[-1:] + [size + token for token in row]
        expected += [2 * size + token for token in chars.rows[item]]
        expected += [2 * size + letters] * len(prices.rows[item])
        assert found.tokens(torch.tensor([item])).ids.tolist() == expected


def test_a_column_that_is_not_there_is_refused_once(store: Store) -> None:
    twice = {name: FieldSettings(column="titel@words") for name in ("a", "b")}
    with pytest.raises(StoreError, match="'titel@words' is not there; did you mean 'title@words'") as error:
        Catalog.from_store(store, twice)
    assert str(error.value).count("titel@words") == 1
