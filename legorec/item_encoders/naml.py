"""The news encoder of NAML."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates, check_field_kinds
from legorec.nn.attention import AdditiveAttention
from legorec.nn.scales import dense
from legorec.nn.segments import Segments
from legorec.nn.sending import sent
from legorec.nn.text_view import TextView


class NAMLItemEncoder(nn.Module):
    """One vector per field, then their weighted mean (NAML; Wu et al., 2019, section 3.1).

    A text field goes through a convolution, then a weighted mean of its tokens; a category or a number goes
    through a dense layer. In the paper a ReLU follows the convolution and the dense layer.

    Args:
        input_dim: width of the token states.
        field_kinds: kind of each field of the states: ``text``, ``category``, ``categories`` or ``number``.
        hidden_dim: width of the item vectors, the number of filters (paper: 400).
        kernel_size: how many tokens a filter sees, an odd number (paper: 3).
        dropout: on the tokens after the convolution, as in the authors' code.
        attention_dim: width of the queries that weight tokens and fields (paper: 200).
        rectified: have the paper's ReLU. Then no item vector has a negative coordinate, most of it is common
            to all items and all users, and training has to undo that first: after 300 steps on Goodreads it
            is 0.03 in gauc behind (docs/learning.md). A saved run that does not say has it.
    Raises:
        ValueError: an unknown kind, or an even kernel.
    Unlike the encoder ``CNN`` of Legommenders, which puts the tokens of all fields into one weighted mean,
    this has the paper's two levels. A field that is empty for an item is left out of that item's mean; with
    only one field there is no second level. Several categories of one item are averaged after their dense
    layer; in the paper an item has one category, and no numbers.
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
        self.views = nn.ModuleList(
            TextView(input_dim, hidden_dim, kernel_size, dropout, attention_dim, rectified)
            if kind == "text"
            else CategoryView(input_dim, hidden_dim, rectified)
            for kind in field_kinds
        )
        self.pool = AdditiveAttention(hidden_dim, attention_dim) if len(self.views) > 1 else None

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        views = [view(*field) for view, field in zip(self.views, states.by_fields(), strict=True)]
        if self.pool is None:
            return views[0]
        vectors_NFD = torch.stack(views, 1)
        if states.lengths.numpy().all():
            return self.pool(vectors_NFD)
        (present_NF,) = sent(vectors_NFD.device, states.lengths > 0)
        return self.pool(vectors_NFD, present_NF)


class CategoryView(nn.Module):
    def __init__(self, input_dim: int, hidden_dim: int, rectified: bool) -> None:
        super().__init__()
        self.rectified = rectified
        self.dense = dense(input_dim, hidden_dim, rectified=rectified)

    def forward(self, values_TE: Tensor, rows: Segments) -> Tensor:
        vectors_TD = self.dense(values_TE)
        vectors_TD = torch.relu(vectors_TD) if self.rectified else vectors_TD
        return vectors_TD if rows.max_length == 1 and rows.total == rows.num_rows else rows.mean(vectors_TD)
