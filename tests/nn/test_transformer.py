"""Transformer layers against torch's own, row by row."""

from functools import partial

import pytest
import torch
from torch import Tensor

from legorec.nn import attention as attentions
from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.segments import Segments
from legorec.nn.transformer import Transformer, TransformerLayer, attend
from tests.support import torch_layers
from tests.support.torch_layers import moved

LENGTHS = [3, 0, 1, 7, 3, 0, 12]


@pytest.fixture
def rows() -> Segments:
    return Segments(torch.tensor(LENGTHS))


@pytest.fixture
def values(rows) -> Tensor:
    return torch.randn(rows.total, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def by_padding(layer, values: Tensor, rows: Segments) -> Tensor:
    """The layer over padded rows, as on other devices, with garbage that is finite where masked."""
    padded, mask = rows.pad(values)
    out = layer(torch.where(mask.unsqueeze(2), padded, 7.0), mask)
    assert out.isfinite().all()
    return rows.unpad(out)


@pytest.mark.parametrize("longest", [256, 2])
def test_layer_is_that_of_torch_on_each_row(rows, values, longest, monkeypatch):
    monkeypatch.setattr(attentions, "LONG", longest)
    layer = moved(TransformerLayer(8, heads=2, ffn_dim=12, dropout=0.0))
    reference = torch_layers.encoder_layer(layer.attention, layer.out, layer.behind)
    expected = torch.cat([reference(row[None])[0] for row in values.split(LENGTHS) if len(row)])
    torch.testing.assert_close(layer(values, rows), expected)
    torch.testing.assert_close(by_padding(layer, values, rows), expected)


def test_layers_stand_one_behind_the_other(rows, values):
    layers = moved(Transformer(8, layers=3, heads=4, ffn_factor=2, dropout=0.0))
    run = torch_layers.transformer(layers.layers)
    expected = torch.cat([run(row) for row in values.split(LENGTHS) if len(row)])
    torch.testing.assert_close(layers(values, rows), expected)


def attention_by_hand(attention: MultiHeadSelfAttention, row_LD: Tensor) -> Tensor:
    """softmax(Q K' / sqrt d) V of each head, over the places that may be seen."""
    parts = (row_LD @ attention.qkv.weight.T).chunk(3, 1)
    heads = []
    for query, key, value in zip(*(part.chunk(attention.heads, 1) for part in parts), strict=True):
        logits = query @ key.T / query.shape[1] ** 0.5
        if attention.causal:
            logits += torch.full_like(logits, -torch.inf).triu(1)
        heads.append(logits.softmax(1) @ value)
    return torch.cat(heads, 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("longest", [256, 2])
def test_attention_and_its_gradients(rows, values, causal, longest, monkeypatch):
    monkeypatch.setattr(attentions, "LONG", longest)
    attention = MultiHeadSelfAttention(8, 8, heads=2, causal=causal).double()
    values.requires_grad_()
    leaves = [values, attention.qkv.weight]
    expected = torch.cat([attention_by_hand(attention, row) for row in values.split(LENGTHS)])
    grads = torch.autograd.grad(expected.square().sum(), leaves)
    for out in (attend(attention, values, rows), by_padding(partial(attend, attention), values, rows)):
        torch.testing.assert_close(out, expected)
        for one, other in zip(torch.autograd.grad(out.square().sum(), leaves), grads, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("longest", [256, 2])
def test_many_rows_of_every_length_equal_each_alone(causal, longest, monkeypatch):
    monkeypatch.setattr(attentions, "LONG", longest)
    lengths = torch.randint(0, 40, (100,), generator=torch.Generator().manual_seed(0))
    rows = Segments(lengths)
    values = torch.randn(rows.total, 8, dtype=torch.float64)
    attention = MultiHeadSelfAttention(8, 8, heads=2, causal=causal).double()
    whole = attend(attention, values, rows)
    expected = [attention_by_hand(attention, row) for row in values.split(lengths.tolist())]
    torch.testing.assert_close(whole, torch.cat(expected))


@pytest.mark.parametrize("causal", [False, True])
def test_no_row_has_anything(causal):
    attention = MultiHeadSelfAttention(8, 8, heads=2, causal=causal)
    empty = torch.zeros(0, 8, requires_grad=True)
    assert attend(attention, empty, Segments(torch.zeros(3, dtype=torch.int64))).shape == (0, 8)
    assert attend(attention, torch.ones(2, 3, 8), torch.zeros(2, 3, dtype=torch.bool)).isfinite().all()


def test_half_precision(rows, values):
    layer = TransformerLayer(8, heads=2, ffn_dim=12, dropout=0.0)
    expected = layer(values.float(), rows)
    half = layer.bfloat16()(values.bfloat16(), rows)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


def test_dropout_acts_in_training_alone(rows, values):
    layer = TransformerLayer(8, heads=2, ffn_dim=12, dropout=0.5).double()
    assert not torch.equal(layer(values, rows), layer(values, rows))
    layer.eval()
    assert torch.equal(layer(values, rows), layer(values, rows))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((64, 3, 5, 4), r"`heads` must divide `hidden_dim` \(64\), got 5"),
        ((64, 3, 0, 4), r"`heads` must divide `hidden_dim` \(64\), got 0"),
        ((64, 0, 8, 4), "`layers` must be at least 1, got 0"),
        ((64, 3, 8, 0), "`ffn_factor` must be at least 1, got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        Transformer(*arguments, dropout=0.1)
