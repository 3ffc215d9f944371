"""Fastformer against the paper's equations, token by token."""

import math

import numpy as np
import pytest
import torch

from legorec.nn.fastformer import FastAttention, Fastformer, FastformerLayer
from legorec.nn.segments import Segments
from tests.support.torch_layers import moved

LENGTHS = [3, 0, 1, 7, 3, 0, 12]


@pytest.fixture
def rows() -> Segments:
    return Segments(torch.tensor(LENGTHS))


@pytest.fixture
def values(rows) -> torch.Tensor:
    return torch.randn(rows.total, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def softmax(logits: list[float]) -> np.ndarray:
    weights = np.exp(np.array(logits))
    return weights / weights.sum()


def by_hand(attention: FastAttention, row: np.ndarray) -> np.ndarray:
    """The additive attention of one row (L, D)."""
    weight = attention.qkv.weight.detach().numpy()
    queries, keys, values = (row @ part.T for part in np.split(weight, 3))
    width = row.shape[1] // attention.heads
    mixed = np.empty_like(row)
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        q, k, v = queries[:, part], keys[:, part], values[:, part]
        w_q = attention.weigh_queries.detach().numpy()[head]
        w_k = attention.weigh_keys.detach().numpy()[head]
        alpha = softmax([w_q @ each / math.sqrt(width) for each in q])
        global_query = sum(weight * each for weight, each in zip(alpha, q, strict=True))
        p = [global_query * each for each in k]
        beta = softmax([w_k @ each / math.sqrt(width) for each in p])
        global_key = sum(weight * each for weight, each in zip(beta, p, strict=True))
        mixed[:, part] = [global_key * each for each in v]
    out = attention.out
    return mixed @ out.weight.detach().numpy().T + out.bias.detach().numpy() + queries


def test_attention_is_the_formula(rows, values):
    attention = moved(FastAttention(8, heads=2))
    expected = [by_hand(attention, row.numpy()) for row in values.split(LENGTHS) if len(row)]
    torch.testing.assert_close(attention(values, rows), torch.from_numpy(np.concatenate(expected)))


def test_padded_rows_are_the_same(rows, values):
    layers = moved(Fastformer(8, layers=2, heads=4, ffn_factor=2, dropout=0.0))
    values.requires_grad_()
    padded, mask = rows.pad(values)
    out = layers(torch.where(mask.unsqueeze(2), padded, 7.0), mask)
    assert out.isfinite().all()
    expected = layers(values, rows)
    torch.testing.assert_close(rows.unpad(out), expected)
    leaves = [values, *layers.parameters()]
    grads = torch.autograd.grad(expected.square().sum(), leaves)
    others = torch.autograd.grad(rows.unpad(out).square().sum(), leaves)
    for one, other in zip(grads, others, strict=True):
        torch.testing.assert_close(one, other)


def test_layer_adds_and_norms_behind_the_attention(rows, values):
    layer = moved(FastformerLayer(8, heads=2, ffn_dim=12, dropout=0.0))
    behind = layer.behind
    states = behind.norm(values + layer.attention(values, rows))
    dense = behind.outer(torch.nn.functional.gelu(behind.inner(states)))
    torch.testing.assert_close(layer(values, rows), behind.outer_norm(states + dense))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((64, 3, 5, 4), r"`heads` must divide `hidden_dim` \(64\), got 5"),
        ((64, 0, 8, 4), "`layers` must be at least 1, got 0"),
        ((64, 3, 8, 0), "`ffn_factor` must be at least 1, got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fastformer(*arguments, dropout=0.1)
