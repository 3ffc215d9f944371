"""Packed rows against a loop over the rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from legorec.nn.segments import Segments, pack, unpack

LENGTHS = [
    [3, 0, 1, 5, 0],
    [1],
    [0, 0],
    [],
    [2, 2, 2],
]


def packed(lengths: list[int], width: int = 4, seed: int = 0) -> tuple[Segments, torch.Tensor, torch.Tensor]:
    rows = Segments(torch.tensor(lengths, dtype=torch.int64))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows.total, width, dtype=torch.float64, generator=generator)
    logits = 30 * torch.randn(rows.total, dtype=torch.float64, generator=generator)
    return rows, values.requires_grad_(), logits.requires_grad_()


@pytest.mark.parametrize("lengths", LENGTHS)
def test_softmax_is_that_of_each_row(lengths):
    rows, _, logits = packed(lengths)
    expected = [part.softmax(0) for part in logits.split(lengths)]
    torch.testing.assert_close(rows.softmax(logits), torch.cat([*expected, logits[:0]]))


def test_softmax_does_not_overflow():
    rows = Segments(torch.tensor([2, 1]))
    weights = rows.softmax(torch.tensor([1e30, -1e30, -3e38]))
    assert weights.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_weighted_sum_and_mean_are_those_of_each_row(lengths):
    rows, values, weights = packed(lengths)
    parts = list(zip(values.split(lengths), weights.split(lengths), strict=True))
    sums = [(part * weight[:, None]).sum(0) for part, weight in parts]
    means = [part.mean(0) if len(part) else part.sum(0) for part, _ in parts]
    nothing = values.new_zeros(0, 4)
    torch.testing.assert_close(rows.weighted_sum(values, weights), torch.stack(sums) if sums else nothing)
    torch.testing.assert_close(rows.mean(values), torch.stack(means) if means else nothing)


@pytest.mark.parametrize("lengths", LENGTHS[:2])
def test_gradients(lengths):
    rows, values, logits = packed(lengths)
    logits = (logits.detach() / 30).requires_grad_()
    assert gradcheck(rows.softmax, logits)
    assert gradcheck(rows.weighted_sum, (values, logits))
    assert gradcheck(rows.mean, values)
    assert gradcheck(lambda packed_values: rows.pad(packed_values)[0], values)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), max_size=8))
def test_pad_and_back(lengths):
    rows, values, _ = packed(lengths)
    padded, mask = rows.pad(values)
    assert padded.shape == (len(lengths), max(lengths, default=0), 4)
    assert mask.sum(1).tolist() == lengths
    assert torch.equal(rows.unpad(padded), values)
    assert torch.equal(padded.reshape(-1, 4)[mask.reshape(-1)], values)
    assert not padded[~mask].any()


def test_index_tensors():
    rows = Segments(torch.tensor([3, 0, 1]))
    assert rows.offsets().tolist() == [0, 3, 3, 4]
    assert rows.rows().tolist() == [0, 0, 0, 2]
    assert rows.slots().tolist() == [0, 1, 2, 6]
    heads, tails = rows.edges(2)
    assert sorted(heads[1].tolist()) == [0, 1, 3] and sorted(tails[1].tolist()) == [1, 2, 3]
    assert rows.edges(0) == ([], [])


@pytest.mark.parametrize(
    "lengths", [torch.ones(2, 2, dtype=torch.int64), torch.ones(2), torch.ones(2, device="meta")]
)
def test_lengths_are_whole_numbers_on_the_host(lengths):
    with pytest.raises(ValueError, match=r"`lengths` must be a \(R,\) int64 tensor on the host, got"):
        Segments(lengths)


def test_pack_takes_what_any_mask_shows():
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])
    values = torch.randn(3, 3, 2, dtype=torch.float64, requires_grad=True)
    packed_values, rows = pack(values, mask)
    assert torch.equal(packed_values, values[mask]) and rows.lengths.tolist() == [2, 0, 2]
    assert torch.equal(unpack(packed_values, mask), torch.where(mask.unsqueeze(2), values, 0.0))
    assert gradcheck(lambda states: unpack(pack(states, mask)[0].square(), mask), values)
