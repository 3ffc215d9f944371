"""Learned vectors of users, which start at zero."""

from __future__ import annotations

import torch
from torch import Tensor

from legorec.nn.dropout import dropped
from legorec.nn.fused import gather_rows


def known_users(table_UD: Tensor, user_B: Tensor, mask_rate: float) -> Tensor:
    """(B, D) rows of a table, zero for user -1 and, with probability ``mask_rate``, for any other user.

    A user's whole vector is masked and the rest is not scaled up, so that the model learns to treat zero as
    an unknown user.
    """
    known_B1 = (user_B >= 0).unsqueeze(1)
    if mask_rate:
        known_B1 = known_B1 & (dropped(torch.ones_like(known_B1, dtype=torch.float32), mask_rate) > 0)
    return gather_rows(table_UD, user_B.clamp(min=0)) * known_B1
