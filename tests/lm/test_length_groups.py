"""Rows grouped by length: the division is the cheapest, and nothing is lost on the way there and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from legorec.lm import length_groups
from legorec.lm.length_groups import LengthGroups, _divide

CPU = torch.device("cpu")


def cost(sizes, bounds, overhead):
    """Padded tokens and an overhead for each group of sorted sizes."""
    groups = [sizes[start:stop] for start, stop in itertools.pairwise(bounds)]
    return sum(len(group) * int(group.max()) + overhead for group in groups)


@pytest.mark.parametrize("overhead", [0, 1, 3, 8, 32, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_division_is_the_cheapest(overhead, seed):
    rng = np.random.default_rng(seed)
    sizes = np.sort(rng.integers(1, 12, int(rng.integers(1, 9))))
    inner = range(1, len(sizes))
    every = (each for count in range(len(sizes)) for each in itertools.combinations(inner, count))
    cheapest = min(cost(sizes, [0, *each, len(sizes)], overhead) for each in every)
    bounds = _divide(sizes, overhead)
    assert bounds[0] == 0 and bounds[-1] == len(sizes) and bounds == sorted(set(bounds))
    assert cost(sizes, bounds, overhead) == cheapest


def test_by_hand(monkeypatch):
    monkeypatch.setitem(length_groups.OVERHEAD, "cpu", 5)
    groups = LengthGroups(torch.tensor([7, 0, 2, 8, 2]), CPU)
    assert [each.tolist() for each in groups.lengths] == [[2, 2], [7, 8]]
    split = groups.split(torch.arange(19))
    assert split[0].tolist() == [7, 8, 17, 18]
    assert split[1].tolist() == [*range(7), *range(9, 17)]


@pytest.fixture(params=[0, 20, 1 << 40])
def overhead(request, monkeypatch):
    monkeypatch.setitem(length_groups.OVERHEAD, "cpu", request.param)
    return request.param


LENGTHS = [[5, 0, 1, 9, 5, 3, 9, 2, 0], [4], [0], [], [0, 0, 3], [1, 1, 1], [3, 2, 1, 0]]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_splitting_and_joining_are_inverse(overhead, lengths):
    groups = LengthGroups(torch.tensor(lengths, dtype=torch.int64), CPU)
    total = sum(lengths)
    assert sum(int(each.sum()) for each in groups.lengths) == total
    assert all((each > 0).all() for each in groups.lengths)
    if not groups.lengths:
        assert total == 0
        return
    values = torch.randn(total, 3)
    parts = groups.split(values)
    assert [len(part) for part in parts] == [int(each.sum()) for each in groups.lengths]
    assert torch.equal(groups.join(list(parts)), values)
    ids = torch.arange(total)
    assert torch.equal(torch.cat(groups.split(ids)), groups.places)
    rows = {tuple(row.tolist()) for row in ids.split(lengths) if len(row)}
    found = [
        part.split(sizes.tolist()) for part, sizes in zip(groups.split(ids), groups.lengths, strict=True)
    ]
    assert {tuple(row.tolist()) for part in found for row in part} == rows


@pytest.mark.parametrize("lengths", [[5, 0, 1, 9, 5], [2, 2, 2]])
def test_gradients_pass(overhead, lengths):
    groups = LengthGroups(torch.tensor(lengths), CPU)
    values = torch.randn(sum(lengths), 3, dtype=torch.float64, requires_grad=True)

    def through(given):
        return groups.join([part * (place + 1) for place, part in enumerate(groups.split(given))])

    assert torch.autograd.gradcheck(through, values)


def test_lengths_alone_make_a_group_without_overhead(monkeypatch):
    monkeypatch.setitem(length_groups.OVERHEAD, "cpu", 0)
    groups = LengthGroups(torch.tensor([3, 1, 3, 2, 1]), CPU)
    assert [each.tolist() for each in groups.lengths] == [[1, 1], [2], [3, 3]]
