"""Vectors of one field among several that share a vocabulary, and dropout behind a given table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from legorec.batch import TokenVectors
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.sources.table import TableSource
from legorec.sources.vectors import VectorsSource

ROWS = {"title": [[1, 2], [], [3, 3, 0]], "abstract": [[4], [2, 1], []]}
ITEMS = torch.arange(3)


def catalog(*own: str) -> Catalog:
    fields = [replace(CatalogField(name, "text", "words", 5, 3), own=name in own) for name in ROWS]
    return Catalog(fields, [Ragged.from_lists(lists) for lists in ROWS.values()])


def by_field(source: TableSource) -> list[torch.Tensor]:
    states = source.eval()(ITEMS)
    return [states.select(place)[0] for place in range(len(ROWS))]


def test_a_table_of_a_field_is_for_that_field_alone():
    shared, alone = torch.randn(5, 4), torch.randn(5, 4)
    vectors = {"words": TokenVectors(shared), "field abstract": TokenVectors(alone)}
    title, abstract = by_field(TableSource(catalog("abstract"), 4, vectors))
    assert torch.equal(title, shared[[1, 2, 3, 3, 0]]) and torch.equal(abstract, alone[[4, 2, 1]])


def test_the_same_vectors_by_field_and_by_vocabulary_are_the_same_states():
    given = TokenVectors(torch.randn(5, 4))
    whole = TableSource(catalog(), 4, {"words": given})
    parts = TableSource(catalog("title", "abstract"), 4, {f"field {name}": given for name in ROWS})
    assert all(torch.equal(a, b) for a, b in zip(by_field(whole), by_field(parts), strict=True))


def test_own_tables_are_learned_apart():
    together, apart = TableSource(catalog(), 4), TableSource(catalog("abstract"), 4)
    assert len(together.learned) == 5 and len(apart.learned) == 10
    apart.eval()(ITEMS).select(1)[0].sum().backward()
    touched = apart.learned.grad.any(1).tolist()
    assert touched == [False] * 5 + [False, True, True, False, True]


@pytest.mark.parametrize("width", [4, 7])
def test_dropout_behind_a_table_is_for_that_table_and_for_training(width):
    vectors = {"field title": TokenVectors(torch.rand(5, width) + 1, dropout=0.5)}
    source = TableSource(catalog("title"), 4, vectors)
    calm = by_field(source)
    states = source.train()(ITEMS)
    title, abstract = (states.select(place)[0] for place in (0, 1))
    assert torch.equal(abstract, calm[1])
    kept = title != 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.allclose(title[kept], 2 * calm[0][kept])
    assert all(torch.equal(a, b) for a, b in zip(by_field(source), calm, strict=True))


def test_items_with_vectors_have_it_too():
    given = np.ones((3, 8), dtype=np.float32)
    source = VectorsSource(3, {"items": TokenVectors(given, dropout=0.5)})
    assert set(source(ITEMS).values.unique().tolist()) == {0.0, 2.0}
    assert source.eval()(ITEMS).values.unique().tolist() == [1.0]
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and below 1, got 1.5"):
        VectorsSource(3, {"items": TokenVectors(given, dropout=1.5)})
