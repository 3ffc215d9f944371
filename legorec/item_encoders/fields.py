"""Item encoder for tabular fields: categories, lists of categories and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.dropout import Dropout
from legorec.nn.scales import dense
from legorec.nn.sending import sent


class FieldsItemEncoder(nn.Module):
    """The mean token vector of every field, joined end to end and projected.

    This is what CTR models have below their interactions: an embedding for each field; the mean for a field
    with several values; the field's vector times the number for a number (AutoInt; Song et al., 2019, the
    embedding layer). The source ``table`` does this scaling. A text is the mean of its words.

    Args:
        input_dim: width of the token states.
        field_kinds: the kind of each field of the states; only their number matters.
        hidden_dim: width of the item vectors.
        dropout: on the joined vectors.
    Raises:
        ValueError: ``field_kinds`` is empty.
    A field that an item lacks is zero in its place, so a missing number counts as the mean, which
    standardises to zero. Unlike in NAML, the fields neither pass through ReLU nor are weighted against each
    other, and each has its own projection, a part of the common matrix.
    """

    def __init__(
        self, input_dim: int, field_kinds: Sequence[str], hidden_dim: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if not field_kinds:
            raise ValueError("`field_kinds` must name at least one field, got none")
        self.output_dim = hidden_dim
        self.dropout = Dropout(dropout)
        self.project = dense(len(field_kinds) * input_dim, hidden_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_field
        single = rows.max_length == 1 and rows.total == rows.num_rows
        means = states.values if single else rows.mean(states.values)
        vectors_ND = self.project(self.dropout(means.reshape(len(states.lengths), self.project.in_features)))
        present = states.lengths.numpy().any(1)
        if present.all():
            return vectors_ND
        # The projection's bias alone would give an item without tokens a vector.
        (present_N1,) = sent(vectors_ND.device, torch.from_numpy(present).unsqueeze(1))
        return torch.where(present_N1, vectors_ND, 0.0)
