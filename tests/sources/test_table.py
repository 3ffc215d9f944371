"""Token tables: learned and given, frozen and tuned, projected where widths differ."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenVectors
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.engine.optim import make_optimizer
from legorec.sources.ids import IdsSource
from legorec.sources.table import TableSource
from legorec.sources.vectors import VectorsSource

ROWS = {"title": [[1, 2], [], [3, 3, 0]], "category": [[1], [0], [2]], "abstract": [[4], [2, 1], []]}
SIZES = {"words": 5, "category": 3}


@pytest.fixture
def catalog() -> Catalog:
    """Title and abstract share a vocabulary."""
    fields, rows = [], []
    for name, lists in ROWS.items():
        vocabulary = "category" if name == "category" else "words"
        kind = "category" if name == "category" else "text"
        fields.append(CatalogField(name, kind, vocabulary, SIZES[vocabulary], 3))
        values = np.array([token for row in lists for token in row], dtype=np.int32)
        rows.append(Ragged.from_lengths(values, np.array([len(row) for row in lists])))
    return Catalog(fields, rows)


def looked_up(tables: dict[str, torch.Tensor], item: int) -> torch.Tensor:
    parts = [
        tables["category" if name == "category" else "words"][lists[item]] for name, lists in ROWS.items()
    ]
    return torch.cat(parts)


def tables_of(source: TableSource, learned: list[str]) -> dict[str, torch.Tensor]:
    """Each vocabulary's vectors as the source should give them."""
    tables = {}
    if learned:
        parts = source.learned.split([SIZES[name] for name in learned])
        tables = dict(zip(learned, parts, strict=True))
    return tables | {name: each.project(each.weight.float()) for name, each in source.given.items()}


@pytest.mark.parametrize(
    "vectors, learned",
    [
        ({}, ["words", "category"]),
        ({"words": TokenVectors(torch.randn(5, 4))}, ["category"]),
        ({"category": TokenVectors(torch.randn(3, 4), frozen=False)}, ["words"]),
        ({"words": TokenVectors(np.random.rand(5, 7).astype(np.float16))}, ["category"]),
        ({"words": TokenVectors(torch.randn(5, 4), transform="linear")}, ["category"]),
        ({"words": TokenVectors(torch.randn(5, 9)), "category": TokenVectors(torch.randn(3, 4))}, []),
    ],
)
def test_tokens_are_looked_up_in_their_tables(catalog, vectors, learned):
    source = TableSource(catalog, embed_dim=4, vectors=vectors)
    tables = tables_of(source, learned)
    states = source(torch.tensor([2, 0, 1, 2]))
    assert states.lengths.tolist() == [[3, 1, 0], [2, 1, 1], [0, 1, 2], [3, 1, 0]]
    torch.testing.assert_close(states.values, torch.cat([looked_up(tables, item) for item in (2, 0, 1, 2)]))
    assert states.values.shape[1] == source.dim == 4
    trained = {name for name, parameter in source.named_parameters() if parameter.requires_grad}
    if trained:
        states.values.sum().backward()
    for name, given in vectors.items():
        assert (f"given.{name}.rows.weight" in trained) is not given.frozen
        projected = given.transform == "linear" or given.weight.shape[1] != 4
        assert (f"given.{name}.project.weight" in trained) is projected


def test_gradient_reaches_each_row_as_often_as_it_occurs(catalog):
    source = TableSource(catalog, embed_dim=4)
    source(torch.tensor([2, 2, 0])).values.sum().backward()
    assert source.learned.grad[:, 0].tolist() == [2, 1, 1, 4, 1, 0, 1, 2]


def test_tuned_table_leaves_the_given_one_alone(catalog):
    given = torch.randn(5, 4)
    source = TableSource(catalog, embed_dim=4, vectors={"words": TokenVectors(given, frozen=False)})
    with torch.no_grad():
        source.given["words"].weight.zero_()
    assert given.any()


def test_frozen_table_is_not_copied(catalog):
    given = np.random.rand(5, 4).astype(np.float32)
    source = TableSource(catalog, embed_dim=4, vectors={"words": TokenVectors(given)})
    assert source.given["words"].weight.data_ptr() == given.ctypes.data


def test_dropout_is_for_training_only(catalog):
    source = TableSource(catalog, embed_dim=4, dropout=0.5)
    items = torch.arange(3)
    assert (source(items).values == 0).any()
    source.eval()
    assert torch.equal(source(items).values, source(items).values)


def test_ids_and_vectors():
    ids = IdsSource(6, embed_dim=4)
    states = ids(torch.tensor([5, 0]))
    assert torch.equal(states.values, ids.learned[[5, 0]]) and states.lengths.tolist() == [[1], [1]]
    given = torch.randn(6, 3)
    same = VectorsSource(6, {"items": TokenVectors(given, transform="none")})
    assert same.dim == 3 and torch.equal(same(torch.tensor([5, 0])).values, given[[5, 0]])
    projected = VectorsSource(6, {"items": TokenVectors(given, frozen=False)}, embed_dim=4)
    assert projected(torch.tensor([5, 0])).values.shape == (2, 4)
    assert {name for name, _ in projected.named_parameters()} == {
        "table.rows.weight",
        "table.project.weight",
        "table.project.bias",
    }


@pytest.mark.parametrize(
    "vectors, message",
    [
        ({"glove": TokenVectors(torch.zeros(5, 4))}, "vectors are given for 'glove', but .* category, words"),
        (
            {"words": TokenVectors(torch.zeros(4, 4))},
            r"'words' must have one row for each of its 5 tokens, got \(4",
        ),
        (
            {"words": TokenVectors(torch.zeros(5, 3), transform="none")},
            r"must be `embed_dim` \(4\) wide, got 3",
        ),
    ],
)
def test_table_refusals(catalog, vectors, message):
    with pytest.raises(ValueError, match=message):
        TableSource(catalog, embed_dim=4, vectors=vectors)


@pytest.mark.parametrize(
    "vectors, message",
    [
        (None, "needs a table named 'items', got none"),
        ({"words": TokenVectors(torch.zeros(6, 3))}, "needs a table named 'items', got words"),
        ({"items": TokenVectors(torch.zeros(5, 3))}, r"one row for each of the 6 items, got \(5, 3\)"),
    ],
)
def test_vectors_refusals(vectors, message):
    with pytest.raises(ValueError, match=message):
        VectorsSource(6, vectors)


def test_item_lr_reaches_the_given_rows_and_not_their_projection(catalog: Catalog) -> None:
    vectors = {"words": TokenVectors(torch.randn(5, 6), frozen=False)}
    source = TableSource(catalog, embed_dim=4, vectors=vectors)
    optimizer = make_optimizer(source, lr=1e-3, item_lr=1e-5)
    by_rate = {group["lr"]: group["params"] for group in optimizer.param_groups}
    assert [id(value) for value in by_rate[1e-5]] == [id(source.given["words"].weight)]
    assert id(source.given["words"].project.weight) in [id(value) for value in by_rate[1e-3]]
