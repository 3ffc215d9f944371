"""The MLP over given vectors: its formula, and zero for an item without one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from legorec.batch import TokenStates
from legorec.item_encoders.mlp import MLPItemEncoder


def test_the_formula_and_an_item_without_a_vector() -> None:
    torch.manual_seed(0)
    encoder = MLPItemEncoder(6, mlp_dims=(5, 4), hidden_dim=3).eval()
    vectors = torch.randn(3, 6)
    states = TokenStates(vectors, torch.tensor([[1], [0], [2]]))
    first, second = encoder.mlp.first, encoder.mlp.rest[2]
    hidden = torch.relu(second(torch.relu(first(vectors[:2]))))
    expected = encoder.project(F.layer_norm(hidden, (4,)))
    found = encoder(states)
    assert torch.allclose(found[[0, 2]], expected, atol=1e-6)
    assert not found[1].any() and encoder.output_dim == 3
