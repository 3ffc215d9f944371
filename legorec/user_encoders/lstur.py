"""The user encoder of LSTUR."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.nn.recurrent import RaggedGRU
from legorec.nn.scales import dense
from legorec.nn.user_table import known_users


class LSTURUserEncoder(nn.Module):
    """A user's learned vector and a GRU over the clicks (LSTUR; An et al., 2019, section 3.2).

    In training the whole vector of a user is set to zero with probability ``mask_rate``, and the others are
    not scaled up. So the model learns what to do with a zero vector. The table starts at zero, so a user that
    training never saw has this vector, in the table or not.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        num_users: rows of the user table.
        mode: ``ini``: the user's vector is the initial state of the GRU, whose last state is the result.
            ``con``: the user's vector and the last state are joined and projected.
        mask_rate: probability of masking a user (paper: 0.5).
    Raises:
        ValueError: a rate that is not in [0, 1).
    Two differences from the paper: the table starts at zero; and with ``con`` a dense layer without a bias
    brings the joined vectors back to the width of the items, a step that the paper leaves open. Legommenders
    has only the GRU.
    """

    def __init__(
        self,
        input_dim: int,
        num_users: int,
        mode: Literal["ini", "con"] = "ini",
        mask_rate: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0.0 <= mask_rate < 1.0:
            raise ValueError(f"`mask_rate` must be at least 0 and below 1, got {mask_rate}")
        self.output_dim = input_dim
        self.mask_rate = mask_rate
        self.users = nn.Parameter(torch.zeros(num_users, input_dim))
        self.clicks = RaggedGRU(input_dim, input_dim)
        self.join = dense(2 * input_dim, input_dim, bias=False) if mode == "con" else None

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``users`` for each user."""
        return {"users": [RowsOf("users", len(self.users))]}

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor) -> Tensor:
        """(B, D). An empty history gives what is known of the user otherwise: zero for an unknown user.

        Args:
            clicks_BHD: item vectors, oldest first.
            mask_BH: True where a click exists.
            user: (B,) rows of the user table, -1 for a user that is not in it.
        """
        long_BD = known_users(self.users, user, self.mask_rate if self.training else 0.0)
        if self.join is None:
            return self.clicks(clicks_BHD, mask_BH, long_BD)[1]
        _, short_BD = self.clicks(clicks_BHD, mask_BH)
        return self.join(torch.cat([short_BD, long_BD], 1))
