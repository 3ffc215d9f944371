"""``pooling`` item by item."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenStates
from legorec.item_encoders.pooling import PoolingItemEncoder

E = 3
KINDS = ["text", "category", "categories"]
LENGTHS = torch.tensor([[4, 1, 2], [0, 1, 3], [1, 0, 0], [0, 0, 0], [2, 1, 1]])


@pytest.fixture
def states() -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    # All below zero, where a maximum would show padding.
    drawn = -torch.rand(int(LENGTHS.sum()), E, generator=generator, dtype=torch.float64) - 1.0
    return TokenStates(drawn, LENGTHS)


def by_hand(states: TokenStates, item: int, mode: str) -> np.ndarray:
    rows = states.values.split(states.lengths.sum(1).tolist())
    fields = [part.numpy() for part in rows[item].split(states.lengths[item].tolist())]
    if mode == "flatten":
        return np.concatenate([part.mean(0) if len(part) else np.zeros(E) for part in fields])
    filled = [part for part in fields if len(part)]
    if not filled:
        return np.zeros(E)
    if mode == "mean":
        return np.mean([part.mean(0) for part in filled], 0)
    return np.max([part.max(0) for part in filled], 0)


@pytest.mark.parametrize("mode, width", [("mean", E), ("max", E), ("flatten", 3 * E)])
def test_pools_tokens_then_fields(states, mode, width):
    encoder = PoolingItemEncoder(E, KINDS, mode=mode)
    assert encoder.output_dim == width and not list(encoder.parameters())
    expected = np.stack([by_hand(states, item, mode) for item in range(5)])
    np.testing.assert_allclose(encoder(states).numpy(), expected, rtol=1e-12)
    projected = PoolingItemEncoder(E, KINDS, mode=mode, hidden_dim=7).double()
    assert projected.output_dim == 7
    vectors = projected(states)
    assert vectors.shape == (5, 7) and not vectors[3].any()
    np.testing.assert_allclose(
        vectors.detach().numpy(), expected @ projected.project.weight.detach().numpy().T, rtol=1e-10
    )


@pytest.mark.parametrize("mode", ["mean", "max", "flatten"])
def test_pages_without_tokens(states, mode):
    encoder = PoolingItemEncoder(E, KINDS, mode=mode)
    for page in (LENGTHS[3:4], LENGTHS[:0]):
        vectors = encoder(TokenStates(states.values[:0], page))
        assert vectors.shape == (len(page), encoder.output_dim) and not vectors.any()
