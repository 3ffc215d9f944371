"""A predictor's scores against a formula in numpy, written out for one user and one item."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

D = 6


def array(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy()


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0.0)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values))


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def linear(layer: nn.Linear, values: np.ndarray) -> np.ndarray:
    """W x + b"""
    product = array(layer.weight) @ values
    return product if layer.bias is None else product + array(layer.bias)


def mlp(part: nn.Module, values: np.ndarray, activation: Callable = relu) -> np.ndarray:
    """The dense layers of a module, one behind the other, each with its activation."""
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            values = activation(linear(layer, values))
    return values


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 without dropout; parameters all random, as those of 0 or 1 would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().eval().parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


def agrees(predictor: nn.Module, score: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Every score is the formula's, also in half precision; every parameter learns; nobody is no error."""
    generator = torch.Generator().manual_seed(1)
    user = torch.randn(3, D, generator=generator, dtype=torch.float64)
    candidates = torch.randn(3, 4, D, generator=generator, dtype=torch.float64)
    scores = drawn(predictor)(user, candidates)
    assert scores.shape == (3, 4)
    expected = [[score(array(u), array(v)) for v in row] for u, row in zip(user, candidates, strict=True)]
    np.testing.assert_allclose(array(scores), np.array(expected), rtol=1e-9, atol=1e-9)
    assert predictor(user[:0], candidates[:0]).shape == (0, 4)
    assert predictor(user, candidates[:, :0]).shape == (3, 0)
    scores.square().sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = predictor.float()(user.float(), candidates.float())
    np.testing.assert_allclose(
        array(half.float()), array(scores), rtol=0.1, atol=0.05 * np.abs(array(scores)).max()
    )
