"""Two towers of one causal model: a user's text followed by the target's, and the target's text alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.batch import TokenBatch
from legorec.lm.answering import CausalModel
from legorec.lm.token_rows import means, segment_alone
from legorec.nn.segments import Segments


class TwoTowerModel(nn.Module):
    """CALRec (Li et al., 2024; arXiv 2405.02429): all weights are shared by the two towers.

    Args:
        target: the segment of the prompt that is the target; it stands last.
        project_dim: width of a linear head for users and one for targets; None: none, as in the paper's
            formulas.
    """

    def __init__(self, language: CausalModel, target: str, project_dim: int | None = None) -> None:
        super().__init__()
        self.language, self.target = language, target
        width = language.base.width
        self.output_dim = width if project_dim is None else project_dim
        heads = [nn.Identity() if project_dim is None else nn.Linear(width, project_dim) for _ in range(2)]
        self.project_user, self.project_target = heads

    def joint(self, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The pass over user and target.

        Returns: (S,) how unlikely the learned tokens are, (B, D) means over the user's tokens, which are all
            before the target, and (B, D) means over the target's.
        """
        states_TD = self.language.states(batch)
        losses_S = self.language.negative_log_likelihood(batch, states_TD)
        span_B2 = batch.spans[self.target]
        before_B2 = torch.stack([torch.zeros_like(span_B2[:, 0]), span_B2[:, 0]], dim=1)
        user_BD, target_BD = (means(states_TD, batch, each) for each in (before_B2, span_B2))
        return losses_S, self.project_user(user_BD), self.project_target(target_BD)

    def alone(self, batch: TokenBatch) -> Tensor:
        """(B, D) means over the target's tokens, which see nothing of the user: the target pass."""
        targets = segment_alone(batch, self.target)
        states_TD = self.language.states(targets)
        return self.project_target(means(states_TD, targets, targets.spans[self.target]))

    def negative_log_likelihood(self, batch: TokenBatch) -> Tensor:
        """(S,) of the learned tokens."""
        return self.language.negative_log_likelihood(batch)

    def forward(self, batch: TokenBatch) -> Tensor:
        """(B,) the mean log-likelihood of each target's tokens after the user's."""
        start, stop = batch.spans[self.target].T
        counts = stop - torch.maximum(start, torch.ones_like(start))
        return Segments(counts).mean(-self.negative_log_likelihood(batch)[:, None])[:, 0]
