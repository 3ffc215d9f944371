"""Attention, padded and packed, against plain formulas row by row."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention, masked_softmax
from legorec.nn.segments import Segments

LENGTHS = [3, 0, 1, 7, 3, 0, 12]


@pytest.fixture
def rows() -> Segments:
    return Segments(torch.tensor(LENGTHS))


@pytest.fixture
def values(rows) -> torch.Tensor:
    return torch.randn(rows.total, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def additive_by_hand(attention: AdditiveAttention, row: torch.Tensor) -> torch.Tensor:
    """The formula of the papers, with its plain exponentials."""
    if len(row) == 0:
        return row.new_zeros(row.shape[1])
    hidden = torch.tanh(row @ attention.hidden.weight.T + attention.hidden.bias)
    weights = torch.exp(hidden @ attention.query)
    return (weights / weights.sum()) @ row


def test_additive_attention_is_the_formula(rows, values):
    attention = AdditiveAttention(8, 5).double()
    expected = torch.stack([additive_by_hand(attention, row) for row in values.split(LENGTHS)])
    torch.testing.assert_close(attention.packed(values, rows), expected)
    torch.testing.assert_close(attention(*rows.pad(values)), expected)
    torch.testing.assert_close(
        attention(values[:6].view(2, 3, 8)), attention.packed(values[:6], Segments(torch.tensor([3, 3])))
    )


def test_additive_attention_gradients(rows, values):
    attention = AdditiveAttention(8, 5).double()
    parameters = list(attention.parameters())
    names = [name for name, _ in attention.named_parameters()]

    def function(states, *weights):
        return torch.func.functional_call(attention, dict(zip(names, weights, strict=True)), (states, rows))

    attention.forward = attention.packed
    assert gradcheck(function, (values.requires_grad_(), *parameters))
    packed = torch.autograd.grad(attention.packed(values, rows).square().sum(), [values, *parameters])
    padded, mask = rows.pad(values)
    plain = AdditiveAttention.forward(attention, padded, mask)
    for one, other in zip(
        packed, torch.autograd.grad(plain.square().sum(), [values, *parameters]), strict=True
    ):
        torch.testing.assert_close(one, other)


def multi_head_by_torch(attention: MultiHeadSelfAttention, input_dim: int) -> nn.MultiheadAttention:
    reference = nn.MultiheadAttention(input_dim, attention.heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.qkv.weight)
        reference.out_proj.weight.copy_(torch.eye(input_dim))
    return reference


def test_self_attention_is_that_of_torch_on_each_row(rows, values):
    attention = MultiHeadSelfAttention(8, 8, heads=2).double()
    reference = multi_head_by_torch(attention, 8)
    expected = [reference(row[None], row[None], row[None])[0][0] for row in values.split(LENGTHS) if len(row)]
    torch.testing.assert_close(attention.packed(values, rows), torch.cat(expected))
    padded, mask = rows.pad(values)
    torch.testing.assert_close(rows.unpad(attention(padded, mask)), torch.cat(expected))


def test_self_attention_gradients(rows, values):
    attention = MultiHeadSelfAttention(8, 4, heads=2).double()
    values.requires_grad_()
    weight = attention.qkv.weight
    padded, mask = rows.pad(values.detach())
    assert gradcheck(lambda states: attention.packed(states, rows), values)
    assert gradcheck(lambda states: rows.unpad(attention(states, mask)), padded.requires_grad_())
    packed = torch.autograd.grad(attention.packed(values, rows).square().sum(), [values, weight])
    plain = rows.unpad(attention(rows.pad(values)[0], mask))
    for one, other in zip(packed, torch.autograd.grad(plain.square().sum(), [values, weight]), strict=True):
        torch.testing.assert_close(one, other)


def test_self_attention_of_other_devices_is_the_same(rows, values):
    attention = MultiHeadSelfAttention(8, 8, heads=2).double()
    padded, mask = rows.pad(values)
    other = attention.padded(padded, mask)
    assert other.isfinite().all()
    torch.testing.assert_close(rows.unpad(other), attention.packed(values, rows))
    for shape in ((0, 3), (2, 0), (0, 0)):
        nothing = attention.padded(padded.new_zeros(*shape, 8), torch.zeros(shape, dtype=torch.bool))
        assert nothing.shape == (*shape, 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_masked_softmax(dtype):
    logits = torch.tensor([[1.0, 2.0, 9e4], [5.0, 6.0, 7.0]], dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    weights = masked_softmax(logits, mask)
    assert weights.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    torch.testing.assert_close(weights[0, :2], logits[0, :2].to(weights.dtype).softmax(0))
    assert weights[0, 2] == 0 and not weights[1].any()
    weights.square().sum().backward()
    assert logits.grad.isfinite().all() and not logits.grad[1].any()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"`heads` must divide `hidden_dim` \(64\), got 5"):
        MultiHeadSelfAttention(64, 64, heads=5)


@pytest.mark.parametrize("layer", [AdditiveAttention(8, 5), MultiHeadSelfAttention(8, 8, heads=2)])
def test_blocks_and_half_precision(layer, rows, values, monkeypatch):
    expected = layer.packed(values.float(), rows)
    half = layer.bfloat16().packed(values.bfloat16(), rows)
    layer.float()
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.05)
    monkeypatch.setattr("legorec.nn.fused.BLOCK", 4)
    torch.testing.assert_close(layer.packed(values.float(), rows), expected, rtol=0.02, atol=0.01)


def test_blocks_change_no_gradient(rows, values, monkeypatch):
    attention = AdditiveAttention(8, 5).double()
    leaves = [values.requires_grad_(), *attention.parameters()]
    whole = torch.autograd.grad(attention.packed(values, rows).square().sum(), leaves)
    monkeypatch.setattr("legorec.nn.fused.BLOCK", 4)
    blocks = torch.autograd.grad(attention.packed(values, rows).square().sum(), leaves)
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(one, other)
