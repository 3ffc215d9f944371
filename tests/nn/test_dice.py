"""Dice against its formula, and what its statistics look at."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from legorec.nn.dice import Dice

MASK = torch.tensor([True, True, False, True, False, True])


@pytest.fixture
def values() -> torch.Tensor:
    drawn = 3 + 2 * torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.where(MASK.unsqueeze(1), drawn, 1e4)


def dice() -> Dice:
    made = Dice(4).double()
    torch.nn.init.normal_(made.alpha)
    return made


def by_hand(s: float, mean: float, var: float, alpha: float) -> float:
    p = 1 / (1 + np.exp(-(s - mean) / np.sqrt(var + 1e-8)))
    return p * s + (1 - p) * alpha * s


def test_training_takes_the_statistics_of_the_real_places(values):
    layer = dice()
    out = layer(values, MASK).detach().numpy()
    alpha, seen = layer.alpha.detach().numpy(), values[MASK].numpy()
    for row in np.flatnonzero(MASK.numpy()):
        for column in range(4):
            expected = by_hand(
                values[row, column].item(), seen[:, column].mean(), seen[:, column].var(), alpha[column]
            )
            np.testing.assert_allclose(out[row, column], expected, rtol=1e-12)


def test_evaluation_takes_the_running_ones(values):
    layer = dice()
    mean, var = np.zeros(4), np.ones(4)
    for step in (0.0, 5.0):
        layer(values + step, MASK)
        seen = values[MASK].numpy() + step
        mean, var = 0.9 * mean + 0.1 * seen.mean(0), 0.9 * var + 0.1 * seen.var(0)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-12)
    layer.eval()
    alpha, out = layer.alpha.detach().numpy(), layer(values, MASK).detach().numpy()
    expected = [
        [by_hand(s, *rest) for s, *rest in zip(row, mean, var, alpha, strict=True)]
        for row in values[MASK].numpy()
    ]
    np.testing.assert_allclose(out[MASK.numpy()], expected, rtol=1e-12)
    assert torch.equal(layer(values[:1], MASK[:1]), layer(values, MASK)[:1])
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12)


def test_statistics_are_part_of_the_state(values):
    layer, other = dice(), dice()
    layer(values, MASK)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer.eval()(values, MASK), other.eval()(values, MASK))
    assert {"running_mean", "running_var"} <= set(layer.state_dict())


def test_masked_places_do_not_matter(values):
    layer = dice()
    for other in (-7.0, torch.nan, torch.inf):
        changed = torch.where(MASK.unsqueeze(1), values, other)
        assert torch.equal(layer(changed, MASK)[MASK], layer(values, MASK)[MASK])


@pytest.mark.parametrize("training", [True, False])
def test_gradients(values, training):
    layer = dice().train(training)
    assert gradcheck(lambda each: layer(each, MASK)[MASK], values.clamp(max=10).requires_grad_())
    layer(values, MASK)[MASK].square().sum().backward()
    assert layer.alpha.grad.isfinite().all() and layer.alpha.grad.all()


def test_a_batch_without_a_real_place_changes_no_statistics(values):
    layer = dice()
    for given, mask in ((values, torch.zeros(6, dtype=torch.bool)), (values[:0], MASK[:0])):
        out = layer(given, mask)
        assert out.shape == given.shape and out.isfinite().all()
    assert not layer.running_mean.any() and (layer.running_var == 1).all()


def test_constant_columns_are_finite():
    values = torch.full((6, 4), 2.0, requires_grad=True)
    out = Dice(4)(values, MASK)
    torch.testing.assert_close(out, values / 2)  # p is one half, alpha is 0
    out.sum().backward()
    assert values.grad.isfinite().all()


def test_half_precision_keeps_its_statistics_wide(values):
    layer = Dice(4)
    half = torch.where(MASK.unsqueeze(1), values, 0.0).bfloat16()
    out = layer(half, MASK)
    assert out.dtype == torch.bfloat16 and layer.running_mean.dtype == torch.float32
    torch.testing.assert_close(out[MASK].float(), layer(half.float(), MASK)[MASK], rtol=0.01, atol=0.01)
