"""The scores of a user's interests, joined to one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def join_scores(
    scores_BKM: Tensor, gate: nn.Module | None, aggregation: str, user_BMD: Tensor, candidates_BKD: Tensor
) -> Tensor:
    """(B, K): the largest, the mean, or, with a ``gate``, the mean weighted by softmax(v . gelu(W u_m))."""
    if gate is None:
        return scores_BKM.amax(2) if aggregation == "max" else scores_BKM.mean(2)
    logits_BKM = candidates_BKD @ F.gelu(gate(user_BMD)).transpose(1, 2)
    wide = torch.promote_types(logits_BKM.dtype, torch.float32)
    return (logits_BKM.softmax(2, dtype=wide) * scores_BKM).sum(2)
