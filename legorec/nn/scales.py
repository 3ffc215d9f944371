"""Initial weights: vectors start equally short at every width, and what all items would share starts at zero.

A score is an inner product, or comes from layers over the vectors of user and item. If these are drawn from
N(0, 1), scores start as large as the root of the width, in the flat part of a softmax, and a step of Adam,
which is of one size for all weights, changes large weights little. If they start short, the first steps
count.
A bias that is drawn at random gives all items and all users a common part, which is a large part of a short
vector; so biases start at zero. ``docs/learning.md`` has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Of a vector when training starts: N(0, 0.1) at a width of 64.
LENGTH = 0.8


def short_vectors(*shape: int) -> nn.Parameter:
    """A table of learned vectors, the last dimension their width; each is ``LENGTH`` long on average."""
    return nn.Parameter(torch.empty(*shape).normal_(std=LENGTH * max(1, shape[-1]) ** -0.5))


def dense(input_dim: int, output_dim: int, bias: bool = True, rectified: bool = False) -> nn.Linear:
    """A dense layer whose output is as long as its input on average, and without a common part.

    Args:
        rectified: ReLU follows, which takes half of the square of the length; it is made up for.
    """
    layer = nn.Linear(input_dim, output_dim, bias=bias)
    keep_length(layer.weight, output_dim, rectified)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def keep_length(weight: Tensor, output_dim: int, rectified: bool = False) -> None:
    """Draw weights such that ``output_dim`` outputs together are as long as the input."""
    nn.init.normal_(weight, std=((2.0 if rectified else 1.0) / output_dim) ** 0.5)


def from_normed(input_dim: int, output_dim: int, bias: bool = True, size: float = 1.0) -> nn.Linear:
    """A dense layer behind values of about ``size`` in each coordinate, such as those of a layer norm: its
    output is ``LENGTH`` long."""
    layer = nn.Linear(input_dim, output_dim, bias=bias)
    nn.init.normal_(layer.weight, std=LENGTH / size * (input_dim * output_dim) ** -0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def score(input_dim: int, bias: bool = True) -> nn.Linear:
    """One number of a vector: as small as an inner product with another vector of its width."""
    layer = nn.Linear(input_dim, 1, bias=bias)
    nn.init.normal_(layer.weight, std=input_dim**-0.5)
    return unbiased(layer)


def unbiased(layer: nn.Linear) -> nn.Linear:
    """The layer with a bias of zero, if it has one."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
