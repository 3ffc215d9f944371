"""Source of token vectors, from tables that are learned, or given and then frozen or tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.batch import TokenStates, TokenVectors
from legorec.nn.dropout import Dropout
from legorec.nn.fused import PermuteRows, gather_rows
from legorec.nn.scales import short_vectors
from legorec.nn.sending import sent
from legorec.nn.table import GivenTable

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog, Tokens


class TableSource(nn.Module):
    """Item -> the table vectors of its tokens, field by field.

    Vocabularies without given vectors share one learned table of vectors that start short, see ``nn.scales``;
    Legommenders draws them from N(0, 1). A number is its field's one learned vector times the standardised
    number (the embedding layer of AutoInt; Song et al., 2019, which does not standardise).

    Args:
        catalog: the items; it is referenced, not copied, and is not part of the state.
        embed_dim: width of the token vectors; given ones of another width are projected.
        vectors: given tables by vocabulary, or by ``field NAME`` for a field with a table of its own, see
            ``TokenVectors``.
        dropout: share of values set to zero in training (both papers: 0.2 of the word vectors).
    Raises:
        ValueError: vectors for a vocabulary that no field uses, or of the wrong shape.
    """

    def __init__(
        self,
        catalog: Catalog,
        embed_dim: int = 64,
        vectors: Mapping[str, TokenVectors] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = embed_dim
        self.catalog = catalog
        vectors = vectors or {}
        unknown = sorted(set(vectors) - set(catalog.vocabularies))
        if unknown:
            known = ", ".join(sorted(catalog.vocabularies))
            raise ValueError(
                f"vectors are given for '{unknown[0]}', but the fields in use have only: {known}"
            )
        self.given = nn.ModuleDict()
        self._shift: dict[str, int] = {}  # from an id of the catalogue to a row of its table
        learned = 0
        for name, size in catalog.vocabularies.items():
            if name in vectors:
                self.given[name] = _given(name, vectors[name], size, embed_dim)
                self._shift[name] = -catalog.base[name]
            else:
                self._shift[name] = learned - catalog.base[name]
                learned += size
        self.learned = short_vectors(learned, embed_dim) if learned else None
        self.dropout = Dropout(dropout)
        self.field_kinds = tuple(part.kind for part in catalog.fields)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """Whose the rows of the learned table and of the given ones are."""
        owners = self.catalog.table_rows
        found = {f"given.{name}.rows.weight": [owners[name]] for name in self.given}
        return {**found, "learned": [rows for name, rows in owners.items() if name not in self.given]}

    def forward(self, items: Tensor) -> TokenStates:
        """Token states of ``items`` (N,), rows of the catalogue on the host."""
        return self.embed(self.catalog.tokens(items))

    def embed(self, tokens: Tokens) -> TokenStates:
        """Token states of any items, such as new ones, from their tokens."""
        if self.learned is not None and not self.given:
            values_TE = gather_rows(self.learned, tokens.ids)
        else:
            values_TE = self._from_several(tokens.ids, tokens.lengths)
        if tokens.scale is not None:
            values_TE = values_TE * tokens.scale.unsqueeze(1)
        states = TokenStates(values_TE, tokens.lengths)
        return TokenStates(self.dropout(values_TE, states.by_item), tokens.lengths)

    def _from_several(self, ids_T: Tensor, lengths_NF: Tensor) -> Tensor:
        """Look vectors up field by field, since each may have its own table, and restore their order."""
        lengths = lengths_NF.numpy()
        field_T = np.repeat(np.tile(np.arange(lengths.shape[1]), len(lengths)), lengths.reshape(-1))
        order = np.argsort(field_T, kind="stable")
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        order_T, inverse_T = sent(ids_T.device, order, inverse)
        parts = []
        by_field = ids_T.index_select(0, order_T).split(lengths.sum(0).tolist())
        for part, ids in zip(self.catalog.fields, by_field, strict=True):
            rows = ids + self._shift[part.table]
            if part.table in self.given:
                parts.append(self.given[part.table](rows))
            else:
                assert self.learned is not None
                parts.append(gather_rows(self.learned, rows))
        return PermuteRows.apply(torch.cat(parts), inverse_T, order_T)


def _given(name: str, vectors: TokenVectors, num_rows: int, dim: int) -> GivenTable:
    shape = tuple(vectors.weight.shape)
    if len(shape) != 2 or shape[0] != num_rows:
        raise ValueError(
            f"the vectors of '{name}' must have one row for each of its {num_rows} tokens, got {shape}"
        )
    if vectors.transform == "none" and shape[1] != dim:
        raise ValueError(
            f"the vectors of '{name}' must be `embed_dim` ({dim}) wide, got {shape[1]}; "
            f"`transform: auto` adds a projection"
        )
    projected = vectors.transform == "linear" or shape[1] != dim
    return GivenTable(vectors.weight, vectors.frozen, dim, projected, vectors.dropout)
