"""Item encoder for tabular fields: categories, lists of categories and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.dropout import Dropout


class FieldsItemEncoder(nn.Module):
    """The mean token vector of every field, joined end to end and projected.

    What CTR models have below their interactions: an embedding for each field, of a field with several values
    their mean, of a number its vector times the number (AutoInt; Song et al., 2019, the embedding layer).
    Scaling a number is the affair of the source ``table``. A text is the mean of its words.

    Args:
        input_dim: width of the token states.
        field_kinds: the kind of each field of the states; how many there are is what counts.
        hidden_dim: width of the item vectors.
        dropout: on the joined vectors.
    Raises:
        ValueError: ``field_kinds`` is empty.
    A field that an item lacks is zero in its place: a missing number stands for the mean, which the
    standardised zero is too. Unlike NAML, the fields are neither passed through ReLU nor weighed against each
    other, and each has a projection of its own, a share of the common matrix.
    """

    def __init__(
        self, input_dim: int, field_kinds: Sequence[str], hidden_dim: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if not field_kinds:
            raise ValueError("`field_kinds` must name at least one field, got none")
        self.output_dim = hidden_dim
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(len(field_kinds) * input_dim, hidden_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_field
        single = rows.max_length == 1 and rows.total == rows.num_rows
        means = states.values if single else rows.mean(states.values)
        vectors_ND = self.project(self.dropout(means.reshape(len(states.lengths), self.project.in_features)))
        present = states.lengths.numpy().any(1)
        if present.all():
            return vectors_ND
        # The projection's bias would give an item without tokens a vector.
        present_N1 = torch.from_numpy(present).unsqueeze(1).to(vectors_ND.device, non_blocking=True)
        return torch.where(present_N1, vectors_ND, 0.0)
