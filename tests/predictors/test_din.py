"""DIN against the formulas of the paper, pair by pair."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from legorec.nn.dice import Dice
from legorec.predictors.din import DINPredictor, Layers

D = 6
LENGTHS = [3, 5, 0, 1]
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


def inputs(num_candidates: int = 3) -> tuple[torch.Tensor, ...]:
    """Clicks and candidates with garbage where masked, and their masks."""
    generator = torch.Generator().manual_seed(0)
    clicks = torch.randn(4, 5, D, dtype=torch.float64, generator=generator)
    candidates = torch.randn(4, num_candidates, D, dtype=torch.float64, generator=generator)
    there = torch.arange(num_candidates) < torch.tensor([num_candidates, 1, 2, num_candidates]).unsqueeze(1)
    return (
        torch.where(MASK.unsqueeze(2), clicks, 1e4),
        torch.where(there.unsqueeze(2), candidates, 1e4),
        MASK,
        there,
    )


def made(**options) -> DINPredictor:
    torch.manual_seed(0)
    predictor = DINPredictor(D, [5, 4], [7, 3], **options).double()
    for part in predictor.modules():
        if isinstance(part, Dice):
            torch.nn.init.normal_(part.alpha)
            torch.nn.init.normal_(part.running_mean)
            torch.nn.init.uniform_(part.running_var)
    return predictor


def activated(layer, values: np.ndarray) -> np.ndarray:
    if isinstance(layer, Dice):
        mean, var, alpha = (
            part.detach().numpy() for part in (layer.running_mean, layer.running_var, layer.alpha)
        )
        p = 1 / (1 + np.exp(-(values - mean) / np.sqrt(var + 1e-8)))
        return p * values + (1 - p) * alpha * values
    slope = layer.weight.detach().numpy()
    return np.where(values > 0, values, slope * values)


def through(layers: Layers, values: np.ndarray) -> float:
    """Dense, activation, dense, activation, one number."""
    for dense, activation in zip([layers.first, *layers.layers], layers.activations, strict=True):
        values = dense.weight.detach().numpy() @ values + dense.bias.detach().numpy()
        values = activated(activation, values)
    number = (layers.last.weight.detach().numpy() @ values).item()
    return number if layers.last.bias is None else number + layers.last.bias.item()


@pytest.mark.parametrize("activation", ["prelu", "dice"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("num_candidates", [3, 8])  # fewer than clicks, and more
def test_formula(activation, normalise, num_candidates):
    predictor = made(activation=activation, normalise=normalise).eval()
    clicks, candidates, mask, there = inputs(num_candidates)
    scores = predictor(clicks, candidates, mask, there).detach().numpy()
    assert scores.shape == (4, num_candidates)
    for b, length in enumerate(LENGTHS):
        seen = clicks[b, :length].numpy()
        for k in np.flatnonzero(there[b].numpy()):
            v = candidates[b, k].numpy()
            weights = np.array(
                [through(predictor.attention, np.concatenate([e, v, e - v, e * v])) for e in seen]
            )
            if normalise:
                weights = np.exp(weights) / np.exp(weights).sum()
            user = sum((w * e for w, e in zip(weights, seen, strict=True)), np.zeros(D))
            expected = through(predictor.score, np.concatenate([user, v]))
            np.testing.assert_allclose(scores[b, k], expected, rtol=1e-9)


def test_intensity_is_kept_unless_normalised():
    clicks, candidates, mask, there = (part[:1] for part in inputs())
    twice = [torch.cat([part, part], 1) for part in (clicks, mask)]
    for normalise in (False, True):
        predictor = made(normalise=normalise).eval()
        once = predictor(clicks, candidates, mask, there)
        again = predictor(twice[0], candidates, twice[1], there)
        assert torch.allclose(once, again) is normalise


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["prelu", "dice"])
def test_what_is_masked_does_not_matter(activation, training):
    predictor = made(activation=activation).train(training)
    clicks, candidates, mask, there = inputs()
    expected = predictor(clicks, candidates, mask, there)
    changed = torch.where(mask.unsqueeze(2), clicks, torch.nan).requires_grad_()
    others = torch.where(there.unsqueeze(2), candidates, -3.0)
    scores = predictor(changed, others, mask, there)
    assert torch.equal(scores[there], expected[there])
    scores[there].square().sum().backward()
    assert changed.grad.isfinite().all() and not changed.grad[~mask].any()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("activation", ["prelu", "dice"])
def test_empty_history_is_a_user_of_zero(activation):
    predictor = made(activation=activation).eval()
    clicks, candidates, mask, there = inputs()
    expected = predictor(clicks, candidates, torch.zeros_like(mask), there)
    assert expected.isfinite().all()
    torch.testing.assert_close(predictor(clicks[:, :0], candidates, mask[:, :0], there), expected)
    torch.testing.assert_close(predictor(clicks, candidates, mask, there)[2], expected[2])


@pytest.mark.parametrize("num_candidates", [3, 8])
def test_gradients(num_candidates):
    predictor = made()
    clicks, candidates, mask, there = inputs(num_candidates)
    clicks = clicks.clamp(max=10).requires_grad_()
    candidates = candidates.clamp(max=10).requires_grad_()
    assert gradcheck(lambda one, other: predictor(one, other, mask, there), (clicks, candidates))


def test_each_candidate_is_scored_alone_once_trained():
    for activation in ("prelu", "dice"):
        predictor = made(activation=activation).eval()
        clicks, candidates, mask, there = inputs(8)
        whole = predictor(clicks, candidates, mask, there)
        alone = [predictor(clicks, candidates[:, k : k + 1], mask, there[:, k : k + 1]) for k in range(8)]
        torch.testing.assert_close(torch.cat(alone, 1), whole)


def test_nothing_as_large_as_the_joined_vectors_is_formed():
    predictor = DINPredictor(64, [4], [4])
    clicks, candidates = torch.randn(2, 50, 64), torch.randn(2, 60, 64)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda part: sizes.append(part.numel()) or part, lambda part: part
    ):
        predictor(clicks, candidates, torch.ones(2, 50).bool(), torch.ones(2, 60).bool())
    assert max(sizes) <= 2 * 60 * 50 * 4 < 2 * 60 * 50 * 64


@pytest.mark.parametrize("name", ["attention_dims", "mlp_dims"])
@pytest.mark.parametrize("dims", [[], [8, 0]])
def test_refusals(name, dims):
    with pytest.raises(ValueError, match=rf"`{name}` must be one or more widths of at least 1, got \[.*\]"):
        DINPredictor(D, **{name: dims})
