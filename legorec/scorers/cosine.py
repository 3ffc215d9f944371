"""Baselines that compare what an item says with what the history says, without a trained weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.data.tf_idf import WeightedTokens


class CosineBaseline(nn.Module):
    """Cosine of the candidate's given vector and the mean of the history's, each scaled to length 1.

    An item without a vector (all 0), and a user without a history, have the cosine 0 to everything.

    Args:
        vectors: (num_items, E) that no click has trained.
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.functional.normalize(vectors.float().cpu(), dim=1)

    def forward(self, batch: ClickBatch) -> Tensor:
        # In double precision, so that equal vectors get equal scores once these are rounded.
        own_NE = self.vectors[batch.items].double()
        users_BE = history_mean(batch) @ own_NE
        scores_BN = nn.functional.normalize(users_BE, dim=1) @ own_NE.T
        return scores_BN.gather(1, batch.candidates).float()


class TfIdfBaseline(nn.Module):
    """Cosine of the candidate's TF-IDF weights and the mean of the history's."""

    def __init__(self, weighted: WeightedTokens, num_tokens: int) -> None:
        from scipy.sparse import csr_array

        super().__init__()
        tokens = weighted.tokens
        self.rows = csr_array(
            (weighted.weights, tokens.values, tokens.offsets), shape=(len(tokens), num_tokens)
        )

    def forward(self, batch: ClickBatch) -> Tensor:
        own = self.rows[batch.items.numpy()]
        used, column = np.unique(own.indices, return_inverse=True)
        own = type(own)((own.data, column.reshape(-1), own.indptr), shape=(own.shape[0], len(used)))
        users_VB = own.T @ history_mean(batch).numpy().T
        norms_B = np.sqrt((users_VB**2).sum(0))
        scores_NB = (own @ users_VB) / np.where(norms_B > 0, norms_B, 1)
        return torch.from_numpy(scores_NB.T.copy()).gather(1, batch.candidates).float()


def history_mean(batch: ClickBatch) -> Tensor:
    """(B, N) float64: the share of each distinct item in each history; all 0 where there is none."""
    shares = batch.history_mask.double()
    shares /= shares.sum(1, keepdim=True).clamp(min=1)
    found = torch.zeros(len(shares), len(batch.items), dtype=torch.float64)
    return found.scatter_add_(1, batch.history, shares)
