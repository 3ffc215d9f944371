"""The packed catalogue against each field of each item, read one by one."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.data.store import Field

# Two fields share the vocabulary of words; the third has one of its own between them.
SIZES = {"title": ("words", 11), "category": ("category", 3), "body": ("words", 11)}


@dataclass
class Cut:
    max_length: int | None = None
    keep: Literal["first", "last"] = "first"


rows_of_items = st.lists(
    st.tuples(*(st.lists(st.integers(0, size - 1), max_size=4) for _, size in SIZES.values())),
    min_size=1,
    max_size=8,
)


def catalog(items: list) -> Catalog:
    columns = [Ragged.from_lists([item[column] for item in items]) for column in range(len(SIZES))]
    fields = [
        CatalogField(name, "text", vocabulary, size, int(rows.lengths.max()))
        for (name, (vocabulary, size)), rows in zip(SIZES.items(), columns, strict=True)
    ]
    return Catalog(fields, columns)


def expected(found: Catalog, item: tuple) -> list[int]:
    """Ids of one item, field by field, each shifted by its vocabulary's base."""
    return [
        found.base[vocabulary] + token
        for (vocabulary, _), tokens in zip(SIZES.values(), item, strict=True)
        for token in tokens
    ]


@given(rows_of_items, st.lists(st.integers(0, 7), max_size=12))
@settings(max_examples=60, deadline=None)
def test_tokens_are_those_of_each_field_of_each_item(items, wanted):
    found = catalog(items)
    wanted = [item % len(items) for item in wanted]
    tokens = found.tokens(torch.tensor(wanted, dtype=torch.int64))
    assert tokens.ids.tolist() == [token for item in wanted for token in expected(found, items[item])]
    assert tokens.lengths.tolist() == [[len(part) for part in items[item]] for item in wanted]
    assert tokens.ids.dtype == tokens.lengths.dtype == torch.int64
    assert tokens.lengths.shape == (len(wanted), len(SIZES))


def test_vocabularies_are_shifted_apart():
    found = catalog([([1], [2], [3])])
    assert found.vocabularies == {"words": 11, "category": 3}
    assert found.base == {"words": 0, "category": 11}
    assert found.num_items == 1


def test_new_items_read_the_same_vocabularies():
    found = catalog([([1, 2], [0], []), ([3], [1], [10])])
    new = found.with_items([Ragged.from_lists(rows) for rows in ([[4, 4, 4], []], [[2], []], [[], [0]])])
    assert new.base == found.base and new.num_items == 2
    assert new.tokens(torch.arange(2)).ids.tolist() == [4, 4, 4, 11 + 2, 0]
    assert new.tokens(torch.arange(2)).lengths.tolist() == [[3, 1, 0], [0, 0, 1]]


def test_moving_leaves_lengths_on_the_host():
    found = catalog([([1, 2], [0], [])]).to("meta")
    tokens = found.tokens(torch.tensor([0, 0]))
    assert tokens.ids.device.type == "meta" and tokens.ids.shape == (6,)
    assert tokens.lengths.tolist() == [[2, 1, 0]] * 2


def store(**fields: Field) -> SimpleNamespace:
    """As much of a store as a catalogue reads."""
    asked: list[str] = []
    items = SimpleNamespace(field=lambda name: fields[name])
    return SimpleNamespace(items=items, require=lambda fields: asked.extend(fields), asked=asked)


def stored() -> SimpleNamespace:
    titles = Ragged.from_lists([[1, 2, 3, 4], [], [5, 6]])
    return store(
        title=Field("title", "text", titles, "words", 11),
        category=Field("category", "category", Ragged.from_lists([[2], [], [0]]), "category", 3),
        price=Field("price", "number", Ragged.from_lists([[1], [2], [3]], float), None, 0),
    )


@pytest.mark.parametrize(
    "cut, title",
    [
        (Cut(), [[1, 2, 3, 4], [], [5, 6]]),
        (Cut(3), [[1, 2, 3], [], [5, 6]]),
        (Cut(3, "last"), [[2, 3, 4], [], [5, 6]]),
        (Cut(1), [[1], [], [5]]),
        (Cut(1, "last"), [[4], [], [6]]),
        (Cut(9, "last"), [[1, 2, 3, 4], [], [5, 6]]),
    ],
)
def test_fields_are_cut_as_asked(cut, title):
    source = stored()
    found = Catalog.from_store(source, {"category": Cut(), "title": cut})
    assert source.asked == ["category", "title"]
    assert [part.name for part in found.fields] == ["category", "title"]
    assert [part.max_length for part in found.fields] == [1, max(map(len, title))]
    assert found.base == {"category": 0, "words": 3}
    wanted = [[2], [], [0]]
    ids = [wanted[item] + [3 + token for token in title[item]] for item in range(3)]
    assert found.tokens(torch.arange(3)).ids.tolist() == [token for item in ids for token in item]


def test_numbers_are_refused():
    with pytest.raises(ValueError, match="item field 'price' holds numbers; a token table needs text or cat"):
        Catalog.from_store(stored(), {"price": Cut()})


def test_a_catalogue_needs_a_field():
    with pytest.raises(ValueError, match="a catalogue needs at least one field, got none"):
        Catalog([], [])


def test_one_vocabulary_has_one_size():
    fields = [CatalogField("a", "text", "words", 5, 1), CatalogField("b", "text", "words", 6, 1)]
    rows = [Ragged.from_lists([[0]])] * 2
    with pytest.raises(AssertionError, match="vocabulary words has two sizes"):
        Catalog(fields, rows)


def test_stored_values_are_not_changed():
    values = np.array([1, 2], dtype=np.int32)
    rows = Ragged.from_lengths(values, [1, 1])
    Catalog([CatalogField("a", "text", "a", 3, 1), CatalogField("b", "text", "b", 3, 1)], [rows, rows])
    assert values.tolist() == [1, 2]
