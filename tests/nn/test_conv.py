"""Convolution of packed rows against nn.Conv1d on each row alone."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from legorec.nn.conv import PackedConv1d
from legorec.nn.segments import Segments

LENGTHS = [[3, 0, 1, 7, 2], [1], [2, 1, 0, 1], [0, 0], []]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 9])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_each_row_stands_alone(lengths, kernel_size):
    rows = Segments(torch.tensor(lengths, dtype=torch.int64))
    values = torch.randn(rows.total, 4, dtype=torch.float64, requires_grad=True)
    conv = PackedConv1d(4, 6, kernel_size).double()
    reference = nn.Conv1d(4, 6, kernel_size, padding="same").double()
    with torch.no_grad():
        reference.weight.copy_(conv.weight.permute(2, 1, 0))
        reference.bias.copy_(conv.bias)
    expected = [reference(row.T[None])[0].T for row in values.split(lengths) if len(row)]
    out = conv(values, rows)
    expected_out = torch.cat([*expected, out.detach()[:0]])
    torch.testing.assert_close(out, expected_out)
    if rows.total:
        ours = torch.autograd.grad(out.square().sum(), [values, conv.weight, conv.bias])
        theirs = torch.autograd.grad(expected_out.square().sum(), [values, reference.weight, reference.bias])
        torch.testing.assert_close(ours[0], theirs[0])
        torch.testing.assert_close(ours[1], theirs[1].permute(2, 1, 0))
        torch.testing.assert_close(ours[2], theirs[2])


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gradients(kernel_size):
    rows = Segments(torch.tensor(LENGTHS[0]))
    conv = PackedConv1d(3, 2, kernel_size).double()
    values = torch.randn(rows.total, 3, dtype=torch.float64, requires_grad=True)

    def function(states, weight, bias):
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (states, rows))

    assert gradcheck(function, (values, conv.weight, conv.bias))


def test_frozen_states_need_no_gradient():
    rows = Segments(torch.tensor([2, 3]))
    conv = PackedConv1d(3, 2)
    conv(torch.randn(5, 3), rows).sum().backward()
    assert conv.weight.grad.any()


@pytest.mark.parametrize("kernel_size", [0, 2, -1])
def test_kernel_is_odd(kernel_size):
    with pytest.raises(ValueError, match=f"`kernel_size` must be odd and positive, got {kernel_size}"):
        PackedConv1d(4, 4, kernel_size)
