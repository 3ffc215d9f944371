"""The user encoder of MINER."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.nn.attention import masked_softmax
from legorec.nn.sizes import check_positive


class MINERUserEncoder(nn.Module):
    """Several interests per user, each a weighted mean of clicks (MINER's poly attention; Li et al., 2022).

    Interest m weights click i by ``softmax_i(c_m . tanh(W h_i))`` with a learned code ``c_m``.

    Args:
        input_dim: width of the item vectors, and of the interests.
        num_interests: number of codes (paper: 32).
        code_dim: width of the codes (paper: 200).
    Raises:
        ValueError: ``num_interests`` or ``code_dim`` is below 1.
    NAML has one query, this has many; ``nn.disagreement`` keeps them apart. The candidate's category matters
    only in the predictor ``category_miner``. Legommenders sets the logits of masked places to 1e-30, which is
    close to 0 and masks nothing: there padding counts as much as a click with a logit of 0.
    """

    gives: ClassVar[str] = "interests"

    def __init__(self, input_dim: int, num_interests: int = 32, code_dim: int = 200) -> None:
        super().__init__()
        check_positive(num_interests=num_interests, code_dim=code_dim)
        self.output_dim = input_dim
        # Of about 1 and not of its inverse root, so that interests differ and the predictor's gate learns.
        self.hidden = nn.Linear(input_dim, code_dim, bias=False)
        nn.init.normal_(self.hidden.weight)
        self.codes = nn.Parameter(torch.empty(num_interests, code_dim))
        nn.init.xavier_uniform_(self.codes)

    def click_weights(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, H, M) the weight of each click in each interest; zero where masked."""
        return self._weights(clicks_BHD.masked_fill(~mask_BH.unsqueeze(2), 0.0), mask_BH)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, M, D) of item vectors and True where a click exists; an empty history is zero."""
        clicks_BHD = clicks_BHD.masked_fill(~mask_BH.unsqueeze(2), 0.0)
        weights_BHM = self._weights(clicks_BHD, mask_BH).to(clicks_BHD.dtype)
        return weights_BHM.transpose(1, 2) @ clicks_BHD

    def _weights(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        logits_BHM = torch.tanh(self.hidden(clicks_BHD)) @ self.codes.t()
        return masked_softmax(logits_BHM, mask_BH.unsqueeze(2), 1)
