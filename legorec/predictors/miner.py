"""The click prediction of MINER."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from legorec.nn.interests import join_scores


class MINERPredictor(nn.Module):
    """Inner products of candidate and interests, joined to one score (MINER; Li et al., 2022).

    With ``s_m = v . u_m`` the score is their mean, the largest of them, or their mean
    weighted by ``softmax_m(v . gelu(W u_m))``.

    Args:
        input_dim: width of the item vectors and interests.
        aggregation: how the scores of the interests are joined.
    The interests are transformed once per user, and two batched products do the rest, so that nothing is
    larger than (B, K, M). Unlike in ``category_miner``, an interest does not depend on the candidate.
    """

    takes: ClassVar[tuple[str, ...]] = ("interests",)

    def __init__(self, input_dim: int, aggregation: Literal["weighted", "max", "mean"] = "weighted") -> None:
        super().__init__()
        self.aggregation = aggregation
        self.gate = nn.Linear(input_dim, input_dim, bias=False) if aggregation == "weighted" else None

    def forward(self, user_BMD: Tensor, candidates_BKD: Tensor) -> Tensor:
        """(B, K)"""
        scores_BKM = candidates_BKD @ user_BMD.transpose(1, 2)
        return join_scores(scores_BKM, self.gate, self.aggregation, user_BMD, candidates_BKD)
