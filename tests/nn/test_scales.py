"""Lengths before and after what ``scales`` draws; in whole models they are held by contracts/test_start."""

import pytest
import torch
from torch import Tensor

from legorec.nn.conv import PackedConv1d
from legorec.nn.scales import LENGTH, dense, from_normed, score, short_vectors
from legorec.nn.segments import Segments
from legorec.nn.table import GivenTable


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def length(vectors: Tensor) -> float:
    return vectors.square().sum(-1).mean().sqrt().item()


@pytest.mark.parametrize("width", [1, 8, 64, 300])
def test_vectors_of_a_table_are_equally_short_at_every_width(width: int) -> None:
    assert length(short_vectors(2000, width)) == pytest.approx(LENGTH, rel=0.05)
    assert short_vectors(0, width).shape == (0, width) and length(short_vectors(width)) >= 0


@pytest.mark.parametrize("input_dim, output_dim", [(64, 64), (16, 256), (256, 16)])
def test_a_dense_layer_keeps_the_length(input_dim: int, output_dim: int) -> None:
    values = torch.randn(500, input_dim) * input_dim**-0.5
    assert length(dense(input_dim, output_dim)(values)) == pytest.approx(1.0, rel=0.15)
    rectified = dense(input_dim, output_dim, rectified=True)(values).relu()
    assert length(rectified) == pytest.approx(1.0, rel=0.2)
    normed = torch.nn.functional.layer_norm(values, [input_dim])
    assert length(from_normed(input_dim, output_dim)(normed)) == pytest.approx(LENGTH, rel=0.15)
    assert not dense(input_dim, output_dim)(values[:1] * 0).any()


def test_a_score_is_as_small_as_an_inner_product() -> None:
    one, other = short_vectors(4000, 64), short_vectors(4000, 64)
    found = torch.cat([score(64)(one[place : place + 40]) for place in range(0, 4000, 40)]).std().item()
    assert found == pytest.approx(LENGTH * 64**-0.5, rel=0.15)
    assert (one * other).sum(1).std().item() == pytest.approx(LENGTH**2 * 64**-0.5, rel=0.1)


def test_a_convolution_keeps_the_length_inside_a_row() -> None:
    rows = Segments(torch.full((40,), 20))
    values = short_vectors(800, 32).detach()
    inside = PackedConv1d(32, 48)(values, rows).view(40, 20, 48)[:, 1:-1]
    assert length(inside) == pytest.approx(LENGTH, rel=0.1)


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_given_vectors_of_any_size_are_projected_to_short_ones(size: float) -> None:
    table = GivenTable(torch.randn(500, 40) * size, frozen=True, dim=64, projected=True)
    assert length(table(torch.arange(500))) == pytest.approx(LENGTH, rel=0.15)
    assert table(torch.arange(0)).shape == (0, 64)


def test_a_table_of_nothing_can_be_projected() -> None:
    for weight in (torch.zeros(0, 4), torch.zeros(3, 4), torch.zeros(3, 4, device="meta")):
        assert GivenTable(weight, frozen=True, dim=8, projected=True).project.weight.shape == (8, 4)
