"""The news encoder of LSTUR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates, check_field_kinds
from legorec.nn.segments import Segments
from legorec.nn.text_view import TextView


class CNNCatItemEncoder(nn.Module):
    """Encoded texts and the embeddings of categories, end to end (LSTUR; An et al., 2019, section 3.1).

    A text field goes through a convolution and ReLU, then a weighted mean of its tokens. A category is its
    embedding; several categories are the mean of theirs. With the fields of the paper,
    ``e = [e_title, e_topic, e_subtopic]``.

    Args:
        input_dim: width of the token states.
        field_kinds: the kind of each field of the states: ``text``, ``category``, ``categories``, ``number``.
        hidden_dim: width of an encoded text, the number of filters (paper: 300).
        kernel_size: how many tokens a filter sees, an odd number (paper: 3).
        dropout: on the tokens after the convolution.
        attention_dim: width of the queries that weight tokens.
        rectified: have the ReLU after the convolution.
    Raises:
        ValueError: an unknown kind, or an even kernel.
    The width of an item vector is ``hidden_dim`` for every text plus ``input_dim`` for every other field. A
    field that is empty for an item is zero. In Legommenders all texts share one convolution; here each has
    its own.
    """

    def __init__(
        self,
        input_dim: int,
        field_kinds: Sequence[str],
        hidden_dim: int = 64,
        kernel_size: int = 3,
        dropout: float = 0.1,
        attention_dim: int = 200,
        rectified: bool = True,
    ) -> None:
        super().__init__()
        check_field_kinds(field_kinds)
        self.output_dim = sum(hidden_dim if kind == "text" else input_dim for kind in field_kinds)
        self.views = nn.ModuleList(
            TextView(input_dim, hidden_dim, kernel_size, dropout, attention_dim, rectified)
            if kind == "text"
            else MeanView()
            for kind in field_kinds
        )

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        return torch.cat(
            [view(*field) for view, field in zip(self.views, states.by_fields(), strict=True)], 1
        )


class MeanView(nn.Module):
    def forward(self, values_TE: Tensor, rows: Segments) -> Tensor:
        return rows.mean(values_TE)
