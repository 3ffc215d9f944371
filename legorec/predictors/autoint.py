"""Self-attention over the fields of user and candidate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.mlp import PairScore
from legorec.nn.scales import keep_length, score
from legorec.nn.sizes import check_heads, check_positive


class AutoIntPredictor(nn.Module):
    """Layers of multi-head self-attention over fields, then a linear layer (AutoInt; Song et al., 2019).

    In every head ``a_mk = softmax_k(W_q e_m . W_k e_k)`` and ``e'_m = sum_k a_mk W_v e_k``; a layer gives
    ``relu([e'_m of all heads] + W_r e_m)``. The score is linear in all fields of the last layer; with an MLP
    over ``[u; v]`` beside them it is AutoInt+.

    Args:
        input_dim: width of user and item vectors.
        fields: how many equal slices the user vector, and the item vector, is cut into; each slice is a
            field. 1 makes two fields, user and item, as in Legommenders: each attends to itself and the
            other.
        attention_layers: number of attention layers (Legommenders: 3).
        hidden_dim: width of a field after each of them, all heads together (Legommenders: 64).
        heads: of each layer (Legommenders: 8).
        mlp_dims: widths of the MLP of AutoInt+ (Legommenders: 1000, 1000, 1000); empty: AutoInt.
        dropout: on the attention weights, and after every layer of the MLP.
    Raises:
        ValueError: ``fields`` does not divide ``input_dim``, ``heads`` does not divide ``hidden_dim``,
            ``attention_layers`` below 1, or a layer of the MLP without width.
    As in the paper, products are not divided by the square root of a head's width. The authors' code divides
    them, has a ReLU after each of the four projections, a layer norm after each layer and optional batch norm
    in the MLP. None of these is used here.
    """

    def __init__(
        self,
        input_dim: int,
        fields: int = 1,
        attention_layers: int = 3,
        hidden_dim: int = 64,
        heads: int = 2,
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(attention_layers=attention_layers)
        if fields < 1 or input_dim % fields:
            raise ValueError(f"`fields` must divide `input_dim` ({input_dim}), got {fields}")
        self.fields = fields
        widths = [input_dim // fields] + [hidden_dim] * (attention_layers - 1)
        self.layers = nn.ModuleList(FieldAttention(width, hidden_dim, heads, dropout) for width in widths)
        self.score = score(2 * fields * hidden_dim)
        self.deep = PairScore(input_dim, mlp_dims, dropout, bias=False) if mlp_dims else None

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        scores = self.score(self._attended(user_BD, candidates_BKD).flatten(2)).squeeze(2)
        return scores if self.deep is None else scores + self.deep(user_BD, candidates_BKD)

    def _attended(self, user_BD: Tensor, items_BKD: Tensor) -> Tensor:
        """(B, K, 2 * fields, hidden_dim). The first layer projects a user's fields once for all items."""
        slices = (self.fields, -1)
        values = self.layers[0](items_BKD.unflatten(2, slices), user_BD.unflatten(1, slices))
        for layer in self.layers[1:]:
            values = layer(values)
        return values


class FieldAttention(nn.Module):
    def __init__(self, input_dim: int, hidden_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(heads, hidden_dim, "hidden_dim")
        self.heads = heads
        self.project = nn.Linear(input_dim, 4 * hidden_dim, bias=False)  # queries, keys, values, residual
        keep_length(self.project.weight, hidden_dim)
        self.dropout = Dropout(dropout)

    def forward(self, fields_BKFX: Tensor, shared_BFX: Tensor | None = None) -> Tensor:
        """(B, K, F, hidden_dim). Fields that all items of a row share may be given apart; they come first."""
        projected = self.project(fields_BKFX)
        if shared_BFX is not None:
            shared = self.project(shared_BFX).unsqueeze(1)
            projected = torch.cat([shared.expand(-1, projected.shape[1], -1, -1), projected], 2)
        *parts, residual = projected.chunk(4, 3)
        query, key, value = (part.unflatten(3, (self.heads, -1)).transpose(2, 3) for part in parts)
        weights = self.dropout((query @ key.transpose(3, 4)).softmax(4))
        mixed = (weights.to(value.dtype) @ value).transpose(2, 3).flatten(3)
        return torch.relu(mixed + residual)
