"""Scores of several interests, joined user by user and candidate by candidate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from legorec.nn.interests import join_scores

B, K, M, D = 2, 3, 4, 5


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (B, K, M), (B, M, D), (B, K, D)
    return tuple(torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)


JOINS = [("max", max), ("mean", lambda each: sum(each) / len(each))]


@pytest.mark.parametrize(("aggregation", "join"), JOINS)
def test_without_a_gate(parts, aggregation, join):
    scores, user, candidates = parts
    found = join_scores(scores, None, aggregation, user, candidates)
    assert found.tolist() == [[pytest.approx(join(each)) for each in row] for row in scores.tolist()]


def test_a_gate_weighs_by_candidate(parts):
    scores, user, candidates = parts
    gate = nn.Linear(D, D, bias=False).double()
    found = join_scores(scores, gate, "weighted", user, candidates)
    for b in range(B):
        for k in range(K):
            gated = [nn.functional.gelu(gate.weight @ user[b, m]) for m in range(M)]
            logits = [(candidates[b, k] @ each).item() for each in gated]
            weights = [math.exp(each) for each in logits]
            expected = sum(w * s for w, s in zip(weights, scores[b, k].tolist(), strict=True)) / sum(weights)
            assert found[b, k].item() == pytest.approx(expected)


def test_a_gate_weighs_in_float32_at_least(parts):
    scores, user, candidates = (each.bfloat16() for each in parts)
    gate = nn.Linear(D, D, bias=False).bfloat16()
    assert join_scores(scores, gate, "weighted", user, candidates).dtype == torch.float32
