"""Operations whose backward pass is written by hand, against plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from legorec.nn import fused
from legorec.nn.fused import (
    AdditiveLogits,
    PermuteRows,
    SegmentSoftmax,
    SegmentSum,
    ShiftedProducts,
    TakeRows,
    gather_rows,
    without_autocast,
)
from legorec.nn.segments import Segments

LENGTHS = [3, 0, 1, 5, 0]


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.fixture
def rows() -> Segments:
    return Segments(torch.tensor(LENGTHS))


def test_rows_are_gathered_in_any_shape() -> None:
    table, index = drawn(5, 3), torch.tensor([[4, 0], [4, 4], [2, 1]])
    assert torch.equal(gather_rows(table, index), table[index])
    assert gather_rows(table, index[:0]).shape == (0, 2, 3)
    assert gradcheck(lambda values: gather_rows(values, index), table)


def test_rows_in_another_order() -> None:
    values, order = drawn(4, 3), torch.tensor([2, 0, 3, 1])
    assert torch.equal(PermuteRows.apply(values, order, order.argsort()), values[order])
    assert gradcheck(lambda each: PermuteRows.apply(each, order, order.argsort()), values)


def test_a_row_that_fills_padding_gets_no_gradient_for_it() -> None:
    values, order = drawn(3, 2), torch.tensor([2, 0, 0, 1, 2])
    PermuteRows.apply(values, order, torch.tensor([1, 3, 0])).backward(torch.arange(10.0).view(5, 2).double())
    assert values.grad is not None and values.grad.tolist() == [[2, 3], [6, 7], [0, 1]]


def test_rows_at_places() -> None:
    values, places = drawn(5, 2), torch.tensor([4, 1, 2])
    assert torch.equal(TakeRows.apply(values, places), values[places])
    assert gradcheck(lambda each: TakeRows.apply(each, places), values)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_additive_logits(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "BLOCK", block)
    parts = drawn(5, 3), drawn(4, 3), drawn(4), (2 * drawn(4)).detach().requires_grad_()
    values, weight, bias, query = parts
    torch.testing.assert_close(AdditiveLogits.apply(*parts), torch.tanh(values @ weight.T + bias) @ query)
    assert gradcheck(AdditiveLogits.apply, parts)
    assert AdditiveLogits.apply(values[:0], *parts[1:]).shape == (0,)


def test_softmax_and_sum_of_rows(rows: Segments) -> None:
    logits, values = drawn(rows.total), drawn(rows.total, 2)
    shape = (len(LENGTHS), max(LENGTHS))

    def softmax(each: Tensor) -> Tensor:
        return SegmentSoftmax.apply(each, rows.slots(), rows.rows(), shape)

    torch.testing.assert_close(
        softmax(logits), torch.cat([part.softmax(0) for part in logits.split(LENGTHS)])
    )
    assert gradcheck(softmax, logits)

    def total(each: Tensor, weights: Tensor) -> Tensor:
        return SegmentSum.apply(each, weights, rows.offsets(), rows.rows())

    weighted = (values * logits[:, None]).split(LENGTHS)
    torch.testing.assert_close(total(values, logits), torch.stack([part.sum(0) for part in weighted]))
    assert gradcheck(total, (values, logits))


@pytest.mark.parametrize("taps", [1, 3, 5, 13])  # the last reaches beyond every row, and beyond all of them
def test_shifted_products_are_a_convolution_of_each_row(rows: Segments, taps: int) -> None:
    values, weight, bias = drawn(rows.total, 3), drawn(taps, 3, 2), drawn(2)
    heads, tails = rows.edges(taps // 2)

    def function(*parts: Tensor) -> Tensor:
        return ShiftedProducts.apply(*parts, heads, tails)

    expected = [
        torch.conv1d(row.T[None], weight.permute(2, 1, 0), bias, padding=taps // 2)[0].T
        for row in values.split(LENGTHS)
        if len(row)
    ]
    torch.testing.assert_close(function(values, weight, bias), torch.cat(expected))
    assert gradcheck(function, (values, weight, bias))


def test_autocast_lowers_what_goes_in_and_stays_out_of_the_way() -> None:
    values, places = torch.randn(4, 2), torch.tensor([1, 3])
    assert without_autocast(TakeRows, values, places).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = without_autocast(TakeRows, values, places)
    assert torch.equal(lowered, values.bfloat16()[places]) and lowered.dtype == torch.bfloat16
