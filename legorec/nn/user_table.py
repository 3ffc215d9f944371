"""Learned vectors of users, which start at zero."""

from __future__ import annotations

import torch
from torch import Tensor

from legorec.nn.fused import gather_rows


def known_users(table_UD: Tensor, user_B: Tensor, mask_rate: float) -> Tensor:
    """(B, D) rows of a table, zero for a user of -1 and, with probability ``mask_rate``, for any other.

    A whole user is masked and nothing is scaled up, so that zero is what the model knows of a stranger.
    """
    known_B1 = (user_B >= 0).unsqueeze(1)
    if mask_rate:
        known_B1 = known_B1 & (torch.rand(known_B1.shape, device=user_B.device) >= mask_rate)
    return gather_rows(table_UD, user_B.clamp(min=0)) * known_B1
