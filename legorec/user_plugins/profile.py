"""Facts about a user besides the clicks: topics, regions, age."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.scales import dense, short_vectors

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog


class ProfileUserPlugin(nn.Module):
    """The user vector joined with the mean attribute embedding of each user field, projected back
    (the user profile of GENRE; Liu et al., 2024: topics and regions of interest).

    Args:
        profiles: the fields of every user; they are copied and are not part of the state.
        input_dim: width of the user vectors, or of the interests, each of which gets the same profile.
        embed_dim: width of the attribute embeddings, which are learned from a random start.
        dropout: on the joined profile.
    A field that a user lacks, and every field of an unknown user, has a learned vector instead. A number is
    its field's vector times the standardised number. After this an empty history is no longer zero.
    The part of the projection that reads the user vector starts as the identity: user encoders place users in
    the space of the items, where a predictor compares the two, and a random projection would take them out of
    it. The part that reads the profile starts random and not zero, since embeddings would not learn through
    zeros. Legommenders draws both at random, and looks users up one by one.
    """

    ids: Tensor
    starts: Tensor
    lengths: Tensor
    scale: Tensor | None
    slot_field: Tensor
    slot_place: Tensor
    slots: Tensor

    def __init__(self, profiles: Catalog, input_dim: int, embed_dim: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self._hold(profiles)
        num_fields = len(profiles.fields)
        size = sum(profiles.vocabularies.values())
        self.attributes = short_vectors(size, embed_dim)
        self._owners = list(profiles.table_rows.values())
        self.missing = short_vectors(num_fields, embed_dim)
        self.dropout = Dropout(dropout)
        self.from_user = nn.Linear(input_dim, input_dim, bias=False)
        nn.init.eye_(self.from_user.weight)
        self.from_profile = dense(num_fields * embed_dim, input_dim)

    def _hold(self, profiles: Catalog) -> None:
        """Keep the packed profiles on the model's device, so that a batch is gathered without waiting."""
        lengths_UF = profiles.lengths.numpy()
        ends = lengths_UF.cumsum().reshape(lengths_UF.shape)
        nobody = np.zeros((1, lengths_UF.shape[1]), dtype=np.int64)  # the last row, for user -1
        longest = lengths_UF.max(0, initial=0)
        slot_field = np.repeat(np.arange(len(longest)), longest)
        slot_place = np.arange(len(slot_field)) - (longest.cumsum() - longest)[slot_field]
        held = {
            "starts": np.concatenate([ends - lengths_UF, nobody]),
            "lengths": np.concatenate([lengths_UF, nobody]),
            "slot_field": slot_field,  # (S,) each field has as many slots as its longest row
            "slot_place": slot_place,
            "slots": slot_field == np.arange(len(longest))[:, None],  # (F, S) which slots belong to a field
        }
        for name, array in held.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        # One more value, so that there is one to gather even if no user has any.
        for name, packed in (("ids", profiles.values), ("scale", profiles.scale)):
            padded = None if packed is None else torch.cat([packed, packed.new_zeros(1)])
            self.register_buffer(name, padded, persistent=False)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``attributes`` for each category of the users."""
        return {"attributes": self._owners}

    def forward(self, vectors: Tensor, user: Tensor) -> Tensor:
        """The same shape as the user vectors (B, D) or interests (B, M, D).

        Args:
            user: (B,) rows of the profiles, -1 for an unknown user.
        """
        added_BD = self.from_profile(self.dropout(self._profile(user)))
        return self.from_user(vectors) + (added_BD if vectors.dim() == 2 else added_BD.unsqueeze(1))

    def _profile(self, user: Tensor) -> Tensor:
        """(B, F * E) the mean embedding of each field."""
        lengths_BF = self.lengths[user]
        lengths_BS = lengths_BF[:, self.slot_field]
        there_BS = self.slot_place < lengths_BS
        places_BS = self.starts[user][:, self.slot_field] + self.slot_place
        places_BS = places_BS.masked_fill(~there_BS, len(self.ids) - 1)
        weights_BS = there_BS.to(self.attributes.dtype) / lengths_BS.clamp(min=1)
        if self.scale is not None:
            weights_BS = weights_BS * self.scale[places_BS].to(weights_BS.dtype)
        vectors_BSE = gather_rows(self.attributes, self.ids[places_BS])
        means_BFE = (weights_BS.unsqueeze(1) * self.slots) @ vectors_BSE
        return torch.where(lengths_BF.unsqueeze(2) > 0, means_BFE, self.missing).flatten(1)
