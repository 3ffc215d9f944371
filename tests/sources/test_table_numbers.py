"""Numbers in a token table: a field's one vector times the standardised number."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenVectors
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.sources.table import TableSource

PRICES = [[3.0], [], [1.0], [8.0]]
CATEGORIES = [[1], [0], [], [2]]


@pytest.fixture
def catalog() -> Catalog:
    """A price between a category and another number; item 1 has no price."""
    prices = Ragged.from_lists(PRICES, np.float32)
    years = Ragged.from_lists([[1990], [2000], [2010], [2000]], np.float32)
    return Catalog(
        [
            CatalogField("category", "category", "category", 3, 1),
            CatalogField.of_numbers("price", prices),
            CatalogField.of_numbers("year", years),
        ],
        [Ragged.from_lists(CATEGORIES), prices, years],
    )


def expected(tables: dict[str, torch.Tensor], item: int) -> torch.Tensor:
    """The vectors of one item, from the definition."""
    prices = np.array([number for row in PRICES for number in row])
    found = [tables["category"][token] for token in CATEGORIES[item]]
    found += [tables["price"] * (number - prices.mean()) / prices.std() for number in PRICES[item]]
    year = [1990, 2000, 2010, 2000][item]
    return torch.stack([*found, tables["year"] * (year - 2000) / 50**0.5])


@pytest.mark.parametrize("given", [False, True])
def test_a_number_scales_the_vector_of_its_field(catalog, given):
    table = torch.randn(3, 4)
    source = TableSource(catalog, 4, {"category": TokenVectors(table)} if given else None)
    assert source.field_kinds == ("category", "number", "number")
    learned = source.learned if given else source.learned[3:]
    categories = table if given else source.learned[:3]
    tables = {"category": categories, "price": learned[0], "year": learned[1]}
    items = [3, 1, 0, 2, 3]
    states = source(torch.tensor(items))
    torch.testing.assert_close(states.values, torch.cat([expected(tables, item) for item in items]))
    assert states.lengths.tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]]


def test_gradient_of_a_number_is_its_scale(catalog):
    source = TableSource(catalog, 4)
    source(torch.tensor([0, 3, 3])).values.sum().backward()
    scale = catalog.tokens(torch.tensor([0, 3, 3])).scale
    torch.testing.assert_close(source.learned.grad[3], scale[[1, 4, 7]].sum().expand(4))


def test_a_constant_number_is_a_zero_vector_and_finite():
    years = Ragged.from_lists([[2000], [2000]], np.float32)
    source = TableSource(Catalog([CatalogField.of_numbers("year", years)], [years]), 4)
    assert not source(torch.arange(2)).values.any()


def test_min_max_puts_the_least_at_zero_and_the_largest_at_one():
    rows = Ragged.from_lists(PRICES, np.float32)
    field = CatalogField.of_numbers("price", rows, "min_max")
    assert field.standardised(rows.values).tolist() == pytest.approx([2 / 7, 0.0, 1.0])
    same = Ragged.from_lists([[4.0], [4.0]], np.float32)
    assert CatalogField.of_numbers("price", same, "min_max").standardised(same.values).tolist() == [0.0, 0.0]
