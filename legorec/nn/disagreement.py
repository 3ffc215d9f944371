"""How alike a user's interests are."""

from __future__ import annotations

from torch import Tensor

from legorec.nn.attention import HALF


def disagreement(interests_BMD: Tensor) -> Tensor:
    """Mean cosine similarity of a user's interests, (B,), in at least float32.

    The penalty with which MINER keeps interests apart, weighted by 0.8 there (Li et al., 2022). The mean d is
    over pairs of two different interests. Over all M * M pairs, each interest with itself included, it would
    be ``((M - 1) d + 1) / M``, whose gradient differs by a factor near 1. A user whose interests are zero
    (an empty history) gives 0 with finite gradients, and so does a single interest.
    """
    num_interests = interests_BMD.shape[1]
    if interests_BMD.dtype in HALF:
        interests_BMD = interests_BMD.float()
    squares_BM1 = interests_BMD.square().sum(2, keepdim=True)
    # An interest shorter than 1e-10 counts as zero: near 0 the slope of the square root overflows float32.
    units_BMD = interests_BMD * squares_BM1.masked_fill(squares_BM1 < 1e-20, 1.0).rsqrt()
    # sum over i != j of u_i . u_j, without the (B, M, M) products
    pairs_B = units_BMD.sum(1).square().sum(1) - units_BMD.square().sum((1, 2))
    return pairs_B / max(1, num_interests * (num_interests - 1))
