"""The user encoder of Caser."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.nn.dropout import Dropout
from legorec.nn.fused import gather_rows
from legorec.nn.scales import dense
from legorec.nn.sizes import check_positive
from legorec.nn.user_table import known_users


class CaserUserEncoder(nn.Module):
    """Convolutions over the latest clicks as an image, joined with a user's learned vector (Caser; Tang &
    Wang, 2018).

    Horizontal filters, of heights 1 to ``length``, see as many clicks in a row as they are high: ReLU, then
    the maximum over time. Vertical filters weight the clicks by place. The outputs of both go through a dense
    layer with ReLU (``z``), and the result is ``W' [z; P_u]``.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        num_users: rows of the user table.
        length: how many of the latest clicks are read. The latest comes last; if there are fewer, zeros come
            first.
        num_horizontal: filters of each height.
        num_vertical: vertical filters.
        dropout: on the output of the filters (paper: 0.5).
        mask_rate: how often a user's whole vector is set to zero in training (paper: never), which prepares
            the model for unknown users, as in ``lstur``.
    Raises:
        ValueError: a rate that is not in [0, 1), no place, or no filter.
    In the paper ``W'`` has a row and a bias for each item id; here it is a dense layer without a bias, whose
    result is scored against the item vectors. Here, too, the user table starts at zero, which is the vector
    of a user that training never saw, and ``z`` is zero where there is no click at all.
    """

    def __init__(
        self,
        input_dim: int,
        num_users: int,
        length: int = 5,
        num_horizontal: int = 16,
        num_vertical: int = 4,
        dropout: float = 0.5,
        mask_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(length=length, num_horizontal=num_horizontal, num_vertical=num_vertical)
        if not 0.0 <= mask_rate < 1.0:
            raise ValueError(f"`mask_rate` must be at least 0 and below 1, got {mask_rate}")
        self.output_dim = input_dim
        self.length = length
        self.mask_rate = mask_rate
        self.users = nn.Parameter(torch.zeros(num_users, input_dim))
        self.horizontal = nn.ModuleList(
            dense(height * input_dim, num_horizontal, rectified=True) for height in range(1, length + 1)
        )
        self.vertical = nn.Linear(length, num_vertical, bias=False)
        self.dropout = Dropout(dropout)
        self.dense = dense(num_horizontal * length + num_vertical * input_dim, input_dim, rectified=True)
        self.join = dense(2 * input_dim, input_dim, bias=False)

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
        image_BLD = self._latest(clicks_BHD, mask_BH)
        rows_BX, width = image_BLD.flatten(1), image_BLD.shape[2]
        seen = [
            torch.relu(filters(rows_BX.unfold(1, height * width, width))).amax(1)
            for height, filters in enumerate(self.horizontal, 1)
        ]
        seen.append(self.vertical(image_BLD.transpose(1, 2)).flatten(1))
        z_BD = torch.relu(self.dense(self.dropout(torch.cat(seen, 1))))
        z_BD = torch.where(mask_BH.any(1, keepdim=True), z_BD, 0.0)
        user_BD = known_users(self.users, user, self.mask_rate if self.training else 0.0)
        return self.join(torch.cat([z_BD, user_BD], 1))

    def _latest(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, length, D) the latest clicks, the latest last, after zeros if there are fewer."""
        B, H, D = clicks_BHD.shape
        if H == 0:
            return clicks_BHD.new_zeros(B, self.length, D)
        device = mask_BH.device
        places_BL = mask_BH.sum(1, keepdim=True) + torch.arange(-self.length, 0, device=device)
        rows_BL = torch.arange(B, device=device).unsqueeze(1) * H + places_BL.clamp(min=0)
        latest_BLD = gather_rows(clicks_BHD.flatten(0, 1), rows_BL)
        return torch.where((places_BL >= 0).unsqueeze(2), latest_BLD, 0.0)
