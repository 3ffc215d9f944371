"""Attention in groups of rows of like length is the attention of each row alone."""

import numpy as np
import pytest
import torch

from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.grouped import Group, plan
from legorec.nn.segments import Segments


@pytest.mark.parametrize("heads", [1, 2])
def test_plan_places_every_token_once(heads):
    generator = np.random.default_rng(0)
    for count, longest in ((0, 1), (5, 1), (200, 9), (64, 300)):
        lengths = generator.integers(0, longest + 1, count)
        made = plan(lengths, heads, torch.float32)
        assert torch.equal(made.spread[made.places], torch.arange(int(lengths.sum())))
        assert sum(group.rows for group in made.groups) == (lengths > 0).sum()
        assert sum(group.rows * group.length for group in made.groups) == len(made.spread)


def test_no_bias_where_nothing_is_padded():
    made = plan(np.array([3, 3, 0, 3]), 2, torch.float32)
    assert made.groups == [Group(3, 3, None)]


def test_many_rows_of_every_length_equal_each_alone():
    lengths = torch.randint(0, 60, (300,), generator=torch.Generator().manual_seed(0))
    rows = Segments(lengths)
    values = torch.randn(rows.total, 8, generator=torch.Generator().manual_seed(1))
    attention = MultiHeadSelfAttention(8, 8, heads=2)
    whole = attention.packed(values, rows).split(lengths.tolist())
    for number in range(0, 300, 37):
        alone = values.split(lengths.tolist())[number]
        torch.testing.assert_close(
            attention.packed(alone, Segments(lengths[number : number + 1])), whole[number]
        )
