"""From a sequence to one vector: positions, then given layers, then a weighted mean."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.nn.attention import AdditiveAttention
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.rows import Rows, recency, token_places
from legorec.nn.scales import dense, from_normed, short_vectors
from legorec.nn.segments import Segments
from legorec.nn.sending import sent
from legorec.nn.sizes import check_positive


def check_length(max_length: int, max_tokens: int | None) -> None:
    """Raises ValueError: ``max_length`` is below 1, or below the tokens of the longest item, where known."""
    check_positive(max_length=max_length)
    if max_tokens is not None and max_tokens > max_length:
        raise ValueError(
            f"`max_length` must be at least {max_tokens}, the tokens of the longest item, got {max_length}"
        )


class Positions(nn.Module):
    """A learned vector for each of ``count`` places; places beyond either end take that end's.

    They start a fifth as long as those of a table: rows of equal length share them, and a mean over a row
    would be as much of its places as of its content.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.2 * short_vectors(count, dim).detach())

    def forward(self, places: Tensor) -> Tensor:
        """(..., dim)"""
        return gather_rows(self.table, places.clamp(0, len(self.table) - 1))


class Pool(nn.Module):
    """Weighted mean of a row, then a dense layer; it has no bias, so that an empty row stays zero.

    Layer norms give values around 1, with which scores would start far out in the flat part of a softmax.
    The dense layer makes them as short at the start as vectors of a table.
    """

    def __init__(self, input_dim: int, output_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.attention = AdditiveAttention(input_dim, attention_dim)
        self.dense = from_normed(input_dim, output_dim, bias=False)

    def forward(self, states: Tensor, rows: Rows) -> Tensor:
        """(R, output_dim); an empty row gives zero."""
        if isinstance(rows, Segments):
            return self.dense(self.attention.packed(states, rows))
        return self.dense(self.attention(states, rows))


def projection(input_dim: int, output_dim: int) -> nn.Module:
    """A dense layer if the widths differ, else the identity."""
    return nn.Identity() if input_dim == output_dim else dense(input_dim, output_dim)


class TokenSequence(nn.Module):
    """The tokens of an item as one sequence, with places counted from the first token.

    ``layers`` maps (T, hidden_dim) and the rows to (T, hidden_dim).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        layers: nn.Module,
        max_length: int,
        max_tokens: int | None,
        dropout: float,
        attention_dim: int,
    ) -> None:
        super().__init__()
        check_length(max_length, max_tokens)
        self.max_length = max_length
        self.project = projection(input_dim, hidden_dim)
        self.positions = Positions(max_length, hidden_dim)
        self.dropout = Dropout(dropout)
        self.layers = layers
        self.pool = Pool(hidden_dim, hidden_dim, attention_dim)

    def forward(self, values_TE: Tensor, rows: Segments) -> Tensor:
        """(N, hidden_dim); an item without a token is zero."""
        places_T = token_places(rows, self.max_length, values_TE.device)
        values_TD = self.dropout(self.project(values_TE) + self.positions(places_T), rows)
        return self.pool(self.layers(values_TD, rows), rows)


class ClickSequence(nn.Module):
    """A history as one sequence of item vectors, with places counted from the latest click."""

    def __init__(
        self, input_dim: int, layers: nn.Module, max_history: int, dropout: float, attention_dim: int
    ) -> None:
        super().__init__()
        self.positions = Positions(max_history, input_dim)
        self.dropout = Dropout(dropout)
        self.layers = layers
        self.pool = Pool(input_dim, input_dim, attention_dim)

    def forward(self, clicks: Tensor, rows: Rows) -> Tensor:
        """(B, D) from the output of ``rows_of``; an empty history is zero."""
        states = self.dropout(clicks + self.positions(recency(rows, clicks.device)), rows)
        return self.pool(self.layers(states, rows), rows)


class TokenHistory(nn.Module):
    """A history as one sequence of its items' tokens, with a learned separator after each item.

    A token is marked by its place in the item and by how many items came later, a separator only by the
    latter. Items without a token are left out: they have no separator and are not counted.
    """

    def __init__(
        self,
        token_dim: int,
        hidden_dim: int,
        output_dim: int,
        layers: nn.Module,
        max_history: int,
        max_length: int,
        max_tokens: int | None,
        dropout: float,
        attention_dim: int,
    ) -> None:
        super().__init__()
        check_length(max_length, max_tokens)
        self.max_length = max_length
        self.project = projection(token_dim, hidden_dim)
        self.separator = short_vectors(hidden_dim)
        self.places = Positions(max_length, hidden_dim)
        self.clicks = Positions(max_history, hidden_dim)
        self.dropout = Dropout(dropout)
        self.layers = layers
        self.pool = Pool(hidden_dim, output_dim, attention_dim)

    def forward(self, values_TE: Tensor, lengths_BH: Tensor) -> Tensor:
        """(B, output_dim) of the packed tokens; the number of tokens of each click is on the host."""
        device = values_TE.device
        items = Segments(lengths_BH.reshape(-1))
        tokens_TD = self.project(values_TE) + self.places(token_places(items, self.max_length, device))
        rows, *found = flat(lengths_BH.numpy())
        token_at, separator_at, later_S = sent(device, *found)
        separators = self.separator.to(tokens_TD.dtype).expand(len(separator_at), -1)
        values_SD = tokens_TD.new_zeros(rows.total, tokens_TD.shape[1])
        values_SD = values_SD.index_copy(0, token_at, tokens_TD).index_copy(0, separator_at, separators)
        values_SD = self.dropout(values_SD + self.clicks(later_S), rows)
        return self.pool(self.layers(values_SD, rows), rows)


def flat(lengths_BH: np.ndarray) -> tuple[Segments, np.ndarray, np.ndarray, np.ndarray]:
    """Lay histories out as sequences of tokens and separators.

    Returns: the rows; the place of each token; the place of each separator; and, for each place, how many
    items come after the one it belongs to.
    """
    filled_BH = lengths_BH > 0
    lengths = lengths_BH[filled_BH]
    token_at = np.arange(lengths.sum()) + np.repeat(np.arange(len(lengths)), lengths)
    separator_at = (lengths + 1).cumsum() - 1
    later_BH = filled_BH.sum(1, keepdims=True) - filled_BH.cumsum(1)
    rows = Segments(torch.from_numpy((lengths_BH + filled_BH).sum(1)))
    return rows, token_at, separator_at, np.repeat(later_BH[filled_BH], lengths + 1)
