"""Layers whose inputs are multiplied by masks computed from the pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.mlp import MLP, join_pairs, pair_linear
from legorec.nn.scales import dense, score
from legorec.nn.sizes import check_positive


class MaskNetPredictor(nn.Module):
    """Blocks ``relu(LN(W (mask * x)))`` with ``mask = W_2 relu(W_1 [u; v] + b_1) + b_2`` (Wang et al., 2021).

    ``serial``: the first block takes the layer-normed pair ``[LN(u); LN(v)]``, each other block the output of
    the one before; all masks come from ``[u; v]``. ``parallel``: every block takes the pair, normed by its
    own layer norms, and an MLP takes their outputs, joined. The score is linear in the last output.

    Args:
        input_dim: width of user and item vectors.
        structure: whether a block takes the output of the one before (``serial``) or the pair (``parallel``).
        blocks: number of mask blocks.
        block_dim: width of a block's output (Legommenders: 64).
        ratio: width of the mask's aggregation layer (``W_1``) as a multiple of the mask's, at least 1.
        mlp_dims: widths of the MLP after the blocks, empty for no MLP; null: 128 and 64 after parallel blocks
            and no MLP after serial ones (the paper has one only after parallel blocks).
        dropout: after every block and every layer of the MLP.
    Raises:
        ValueError: ``blocks`` or ``block_dim`` below 1, ``ratio`` below 1, or a layer of no width.
    """

    def __init__(
        self,
        input_dim: int,
        structure: Literal["parallel", "serial"] = "parallel",
        blocks: int = 3,
        block_dim: int = 64,
        ratio: float = 2.0,
        mlp_dims: Sequence[int] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(blocks=blocks, block_dim=block_dim)
        if ratio < 1.0:
            raise ValueError(f"`ratio` must be at least 1, got {ratio}")
        self.parallel = structure == "parallel"
        if mlp_dims is None:
            mlp_dims = [128, 64] if self.parallel else []
        widths = [2 * input_dim] + [2 * input_dim if self.parallel else block_dim] * (blocks - 1)
        self.norms = nn.ModuleList(PairNorm(input_dim) for _ in range(blocks if self.parallel else 1))
        self.blocks = nn.ModuleList(MaskBlock(input_dim, width, block_dim, ratio) for width in widths)
        self.dropout = Dropout(dropout)
        width = block_dim * blocks if self.parallel else block_dim
        self.deep = MLP(width, mlp_dims, dropout, normed=True) if mlp_dims else None
        self.score = score(width if self.deep is None else self.deep.output_dim)

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        pair = (user_BD, candidates_BKD)
        if self.parallel:
            blocks = zip(self.norms, self.blocks, strict=True)
            values = torch.cat([self.dropout(block(*pair, norm(*pair))) for norm, block in blocks], 2)
        else:
            values = self.norms[0](*pair)
            for block in self.blocks:
                values = self.dropout(block(*pair, values))
        return self.score(values if self.deep is None else self.deep(values)).squeeze(2)


class PairNorm(nn.Module):
    """``[LN(u); LN(v)]``, (B, K, 2D): each field is normed separately, with its own weights."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.user, self.item = nn.LayerNorm(input_dim), nn.LayerNorm(input_dim)

    def forward(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        return join_pairs(self.user(user_BD), self.item(items_BKD))


class MaskBlock(nn.Module):
    def __init__(self, input_dim: int, masked_dim: int, output_dim: int, ratio: float) -> None:
        super().__init__()
        self.aggregate = dense(2 * input_dim, round(ratio * masked_dim), rectified=True)
        self.project = dense(round(ratio * masked_dim), masked_dim)
        nn.init.ones_(self.project.bias)  # a mask of 1 hides nothing
        self.hidden = nn.Linear(masked_dim, output_dim, bias=False)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, user_BD: Tensor, items_BKD: Tensor, values_BKX: Tensor) -> Tensor:
        """(B, K, output_dim) from the values to be masked and the pair, which gives the mask."""
        wide = pair_linear(user_BD, items_BKD, self.aggregate.weight, self.aggregate.bias)
        mask_BKX = self.project(torch.relu(wide))
        return torch.relu(self.norm(self.hidden(mask_BKX * values_BKX)))
