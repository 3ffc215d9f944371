"""MINER's interests against the formula of the paper, user by user."""

import numpy as np
import pytest
import torch

from legorec.user_encoders.miner import MINERUserEncoder

D = 6
LENGTHS = [3, 5, 0, 1]
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.fixture
def clicks() -> torch.Tensor:
    drawn = torch.randn(4, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.where(MASK.unsqueeze(2), drawn, 1e4)


@pytest.fixture
def encoder() -> MINERUserEncoder:
    torch.manual_seed(0)
    return MINERUserEncoder(D, num_interests=3, code_dim=5).double()


def by_hand(encoder: MINERUserEncoder, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a_mi = softmax_i(c_m . tanh(W h_i)); u_m = sum_i a_mi h_i. The weights (H, M) and interests (M, D)."""
    weight, codes = encoder.hidden.weight.detach().numpy(), encoder.codes.detach().numpy()
    weights, interests = [], []
    for code in codes:
        raised = np.array([np.exp(code @ np.tanh(weight @ click)) for click in clicks])
        weights.append(raised / raised.sum())
        interests.append(sum(a * click for a, click in zip(weights[-1], clicks, strict=True)))
    return np.array(weights).T, np.array(interests)


def test_formula(encoder, clicks):
    interests, weights = encoder(clicks, MASK), encoder.click_weights(clicks, MASK)
    assert interests.shape == (4, 3, D) and weights.shape == (4, 5, 3)
    for user, length in enumerate(LENGTHS):
        assert not weights[user, length:].any()
        if length == 0:
            assert not interests[user].any()
            continue
        expected = by_hand(encoder, clicks[user, :length].numpy())
        np.testing.assert_allclose(weights[user, :length].detach().numpy(), expected[0], rtol=1e-10)
        np.testing.assert_allclose(interests[user].detach().numpy(), expected[1], rtol=1e-10)


def test_padding_has_no_weight(encoder, clicks):
    """Masked logits of 1e-30, as upstream has them, would give each padded place a share like a click's."""
    alone = encoder(clicks[3:, :1], MASK[3:, :1])
    torch.testing.assert_close(encoder(clicks[3:], MASK[3:]), alone)
    torch.testing.assert_close(alone, clicks[3:, :1].expand(1, 3, D))
    assert torch.equal(encoder.click_weights(clicks, MASK).sum(1)[3], torch.ones(3).double())


@pytest.mark.parametrize("garbage", [1e4, torch.inf, torch.nan])
def test_masked_places_do_not_matter(encoder, clicks, garbage):
    expected = encoder(clicks, MASK)
    changed = torch.where(MASK.unsqueeze(2), clicks, garbage).requires_grad_()
    interests = encoder(changed, MASK)
    assert torch.equal(interests, expected)
    (interests.square().sum() + encoder.click_weights(changed, MASK).square().sum()).backward()
    for grad in (changed.grad, encoder.codes.grad, encoder.hidden.weight.grad):
        assert grad.isfinite().all()
    assert not changed.grad[~MASK].any()


def test_no_history_at_all(encoder, clicks):
    assert torch.equal(encoder(clicks[:, :0], MASK[:, :0]), torch.zeros(4, 3, D).double())
    assert encoder.click_weights(clicks[:, :0], MASK[:, :0]).shape == (4, 0, 3)


@pytest.mark.parametrize("name", ["num_interests", "code_dim"])
def test_refusals(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        MINERUserEncoder(D, **{name: 0})
