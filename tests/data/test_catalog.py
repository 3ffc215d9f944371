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
@settings(max_examples=60)
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


def priced(prices: list[list[float]], **others: list[list[int]]) -> SimpleNamespace:
    """A store with prices, and categories under other names."""
    rows = {"price": Field("price", "number", Ragged.from_lists(prices, np.float32), None, 0)}
    for name, lists in others.items():
        rows[name] = Field(name, "category", Ragged.from_lists(lists), name, 3)
    return store(**rows)


def test_a_number_is_one_token_with_a_standardised_scale():
    found = Catalog.from_store(stored(), {"category": Cut(), "price": Cut(1), "title": Cut(2)})
    assert [part.kind for part in found.fields] == ["category", "number", "text"]
    assert found.vocabularies == {"category": 3, "number price": 1, "words": 11}
    tokens = found.tokens(torch.tensor([2, 1, 0]))
    assert tokens.ids.tolist() == [0, 3, 4 + 5, 4 + 6, 3, 2, 3, 4 + 1, 4 + 2]
    assert tokens.lengths.tolist() == [[1, 1, 2], [0, 1, 0], [1, 1, 2]]
    large = 1.5**0.5  # of 1, 2, 3: the deviation is the root of 2/3
    wanted = [1, large, 1, 1, 0, 1, -large, 1, 1]
    torch.testing.assert_close(tokens.scale, torch.tensor(wanted, dtype=torch.float32))


def test_mean_and_deviation_are_of_the_items_that_have_a_number():
    found = Catalog.from_store(priced([[3], [], [1], [8], []]), {"price": Cut()})
    (field,) = found.fields
    assert (field.mean, field.deviation) == (4, pytest.approx((26 / 3) ** 0.5))
    assert found.lengths.tolist() == [[1], [0], [1], [1], [0]]
    scale = found.tokens(torch.arange(5)).scale.numpy().astype(float)
    assert scale.mean() == pytest.approx(0, abs=1e-7) and scale.std() == pytest.approx(1)


def test_new_numbers_go_by_the_known_mean_and_deviation():
    found = Catalog.from_store(priced([[3], [], [1], [8]]), {"price": Cut()})
    new = found.with_items([Ragged.from_lists([[8], [], [4]], np.float32)])
    assert new.tokens(torch.arange(3)).scale.tolist() == [float(found.scale[2]), 0]
    with pytest.raises(ValueError, match="the field 'price' must hold finite numbers, got nan"):
        found.with_items([Ragged.from_lists([[float("nan")]], np.float32)])


@pytest.mark.parametrize("prices", [[[0.1], [0.1], [], [0.1]], [[7]], [[], []], [[3e38], [3e38]]])
def test_a_constant_field_has_scale_zero(prices):
    found = Catalog.from_store(priced(prices), {"price": Cut()})
    scale = found.tokens(torch.arange(len(prices))).scale
    assert scale.tolist() == [0.0] * sum(map(len, prices))
    assert found.with_items([Ragged.from_lists([[5]], np.float32)]).scale.tolist() == [0]


@pytest.mark.parametrize("prices", [[[-3e38], [3e38], [1]], [[1e-40], [3e-40]], [[16777216], [16777218]]])
def test_wide_and_narrow_numbers_stay_finite(prices):
    scale = Catalog.from_store(priced(prices), {"price": Cut()}).scale
    assert scale.isfinite().all() and scale.any()


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused(wrong):
    with pytest.raises(ValueError, match=f"the field 'price' must hold finite numbers, got {wrong:g}"):
        Catalog.from_store(priced([[1], [wrong]]), {"price": Cut()})


def test_a_new_number_beyond_all_measure_is_refused():
    found = Catalog.from_store(priced([[0], [1e-38]]), {"price": Cut()})
    with pytest.raises(ValueError, match=r"the field 'price' must hold finite numbers, got 1e\+38"):
        found.with_items([Ragged.from_lists([[1e38]], np.float32)])


def test_a_number_may_be_called_as_a_vocabulary_is():
    source = priced([[1], [2]], words=[[0], [2]])
    source.items.field("words").__dict__["vocabulary"] = "price"
    found = Catalog.from_store(source, {"words": Cut(), "price": Cut()})
    assert found.base == {"price": 0, "number price": 3}


def test_without_numbers_there_is_no_scale():
    assert catalog([([1], [2], [3])]).tokens(torch.tensor([0])).scale is None


def test_the_scale_moves_with_the_tokens():
    found = Catalog.from_store(priced([[1], [2]]), {"price": Cut()}).to("meta")
    assert found.tokens(torch.tensor([0])).scale.device.type == "meta"


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
