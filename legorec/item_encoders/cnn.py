"""Item encoder with convolutions and one attention over all tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates, check_field_kinds
from legorec.nn.attention import AdditiveAttention
from legorec.nn.conv import PackedConv1d
from legorec.nn.dropout import Dropout
from legorec.nn.fused import PermuteRows
from legorec.nn.row_places import row_places
from legorec.nn.scales import dense
from legorec.nn.sending import sent


class CNNItemEncoder(nn.Module):
    """Convolved words and projected categories in one weighted mean: NAML (Wu et al., 2019, section 3.1) in
    the one-level form that Legommenders calls ``CNN``.

    A text field goes through a convolution, any other field through a dense layer. All tokens of all fields
    are then weighted together. In the paper a ReLU follows the convolution.

    Args:
        input_dim: width of the token states.
        field_kinds: the kind of each field of the states: ``text``, ``category``, ``categories``, ``number``.
        hidden_dim: width of the item vectors, the number of filters.
        kernel_size: how many tokens a filter sees, an odd number.
        dropout: on the tokens after the convolution.
        attention_dim: width of the query that weights the tokens.
        rectified: have the ReLU; see ``naml``, which says what it costs. A saved run without it has the ReLU.
    Raises:
        ValueError: an unknown kind, or an even kernel.
    Unlike in ``naml``, which has the paper's two levels, fields are not weighted against each other, so that
    a long text outweighs a category by its number of words; and a category never has a ReLU. In Legommenders
    all fields share one convolution and one dense layer; here each field has its own, as in the paper.
    """

    def __init__(
        self,
        input_dim: int,
        field_kinds: Sequence[str],
        hidden_dim: int = 64,
        kernel_size: int = 3,
        dropout: float = 0.1,
        attention_dim: int = 200,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        check_field_kinds(field_kinds)
        self.output_dim = hidden_dim
        self.field_kinds = tuple(field_kinds)
        self.rectified = rectified
        self.views = nn.ModuleList(
            PackedConv1d(input_dim, hidden_dim, kernel_size, rectified)
            if kind == "text"
            else dense(input_dim, hidden_dim)
            for kind in field_kinds
        )
        self.dropout = Dropout(dropout)
        self.pool = AdditiveAttention(hidden_dim, attention_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        parts = [
            self.dropout(self._seen(view(values_TE, rows)), rows) if kind == "text" else view(values_TE)
            for kind, view, (values_TE, rows) in zip(
                self.field_kinds, self.views, states.by_fields(), strict=True
            )
        ]
        values_TD = parts[0] if len(parts) == 1 else item_by_item(torch.cat(parts), states.lengths)
        return self.pool.packed(values_TD, states.by_item)

    def _seen(self, values_TD: Tensor) -> Tensor:
        return torch.relu(values_TD) if self.rectified else values_TD


def item_by_item(values_TD: Tensor, lengths_NF: Tensor) -> Tensor:
    """Reorder values that lie field by field: item by item, and by field within each item."""
    lengths = lengths_NF.numpy()
    by_field = lengths.T.reshape(-1)
    starts = (by_field.cumsum() - by_field).reshape(lengths.T.shape).T.reshape(-1)
    sizes = lengths.reshape(-1)
    order = row_places(starts, sizes)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return PermuteRows.apply(values_TD, *sent(values_TD.device, order, inverse))
