"""The deep interest network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.attention import masked_softmax
from legorec.nn.dice import Dice
from legorec.nn.graphs import is_taken
from legorec.nn.scales import dense, score


class DINPredictor(nn.Module):
    """A sum of clicks weighted for the candidate, then layers over both (DIN; Zhou et al., 2018).

    The activation unit, a small network, weights click ``e`` for candidate ``v`` by ``[e, v, e - v, e * v]``.
    The user vector is the weighted sum of the clicks, and the score comes from layers over ``[user, v]``.

    Args:
        input_dim: width of the item vectors.
        attention_dims: widths of the activation unit's layers.
        mlp_dims: widths of the layers over user and candidate.
        activation: after every layer but the last. ``dice`` uses statistics of the batch in training, so that
            a score then depends on the rest of the batch, see ``nn.dice``.
        normalise: softmax over the clicks. The paper leaves it out, so that many matching clicks count more
            than one.
    Raises:
        ValueError: ``attention_dims`` or ``mlp_dims`` is empty or holds a width below 1.
    In the paper's figure the activation unit sees the two vectors and their product; the authors' code adds
    their difference and takes the elementwise product. Legommenders leaves the candidate out of the last
    layers. An empty history gives a user vector of zero.
    """

    takes: ClassVar[tuple[str, ...]] = ("clicks",)

    def __init__(
        self,
        input_dim: int,
        attention_dims: Sequence[int] = (64,),
        mlp_dims: Sequence[int] = (200, 80),
        activation: Literal["prelu", "dice"] = "prelu",
        normalise: bool = False,
    ) -> None:
        super().__init__()
        for name, dims in (("attention_dims", attention_dims), ("mlp_dims", mlp_dims)):
            if not dims or min(dims) < 1:
                raise ValueError(f"`{name}` must be one or more widths of at least 1, got {list(dims)}")
        self.normalise = normalise
        # A bias before a softmax would change nothing.
        self.attention = Layers([4 * input_dim, *attention_dims], activation, bias=not normalise)
        self.score = Layers([2 * input_dim, *mlp_dims], activation)

    def forward(
        self, user_BHD: Tensor, candidates_BKD: Tensor, mask: Tensor, candidate_mask: Tensor
    ) -> Tensor:
        """(B, K) from the clicks; masked places may hold anything."""
        clicks_BHD = user_BHD.masked_fill(~mask.unsqueeze(2), 0.0)
        hidden_BKHA = self._first_layer(clicks_BHD, candidates_BKD)
        seen_BKH = mask.unsqueeze(1) & candidate_mask.unsqueeze(2)
        weights_BKH = self.attention.after_first(hidden_BKHA.flatten(0, 2), seen_BKH.flatten())
        weights_BKH = weights_BKH.view(seen_BKH.shape)
        if self.normalise:
            weights_BKH = masked_softmax(weights_BKH, mask.unsqueeze(1)).to(clicks_BHD.dtype)
        else:
            weights_BKH = weights_BKH.masked_fill(~mask.unsqueeze(1), 0.0)
        joined_BKX = torch.cat([weights_BKH @ clicks_BHD, candidates_BKD], 2)
        return self.score(joined_BKX.flatten(0, 1), candidate_mask.flatten()).view(candidate_mask.shape)

    def _first_layer(self, clicks_BHD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K, H, A) from ``[e, v, e - v, e * v]``, which would be (B, K, H, 4 D) and is never formed.

        ``W1 e + W2 v + W3 (e - v)`` splits into one part for each click and one for each candidate. The part
        of the product is ``sum_d W4[a, d] e[d] v[d]``: a batched product, once ``W4`` is multiplied into
        one of the sides. That side grows A times as large, so it is the shorter one.
        """
        first = self.attention.first
        own_AD, other_AD, difference_AD, product_AD = first.weight.chunk(4, 1)
        click_BHA = F.linear(clicks_BHD, own_AD + difference_AD)
        candidate_BKA = F.linear(candidates_BKD, other_AD - difference_AD, first.bias)
        if not is_taken() and clicks_BHD.shape[1] < candidates_BKD.shape[1]:
            product_BKHA = _products(candidates_BKD, clicks_BHD, product_AD)
        else:
            product_BKHA = _products(clicks_BHD, candidates_BKD, product_AD).transpose(1, 2)
        return product_BKHA + click_BHA.unsqueeze(1) + candidate_BKA.unsqueeze(2)


def _products(long_BLD: Tensor, short_BSD: Tensor, weight_AD: Tensor) -> Tensor:
    """(B, L, S, A) of ``sum_d weight[a, d] long[l, d] short[s, d]``."""
    weighted_BXD = (short_BSD.unsqueeze(2) * weight_AD).flatten(1, 2)
    return (long_BLD @ weighted_BXD.transpose(1, 2)).unflatten(2, (short_BSD.shape[1], len(weight_AD)))


class Layers(nn.Module):
    """Dense layers, each followed by an activation, then one number."""

    def __init__(self, dims: Sequence[int], activation: Literal["prelu", "dice"], bias: bool = True) -> None:
        super().__init__()
        self.first = dense(dims[0], dims[1])
        self.layers = nn.ModuleList(dense(*pair) for pair in pairwise(dims[1:]))
        self.activations = nn.ModuleList(
            Dice(dim) if activation == "dice" else nn.PReLU(dim) for dim in dims[1:]
        )
        self.last = score(dims[-1], bias)

    def forward(self, values_TX: Tensor, mask_T: Tensor) -> Tensor:
        """(T,)"""
        return self.after_first(self.first(values_TX), mask_T)

    def after_first(self, values_TA: Tensor, mask_T: Tensor) -> Tensor:
        """(T,) from the output of the first layer."""
        values_TA = _activated(self.activations[0], values_TA, mask_T)
        for layer, activation in zip(self.layers, self.activations[1:], strict=True):
            values_TA = _activated(activation, layer(values_TA), mask_T)
        return self.last(values_TA).squeeze(1)


def _activated(activation: nn.Module, values_TA: Tensor, mask_T: Tensor) -> Tensor:
    return activation(values_TA, mask_T) if isinstance(activation, Dice) else activation(values_TA)
