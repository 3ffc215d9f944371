"""The session encoder of NARM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.recurrent import RaggedGRU
from legorec.nn.scales import dense


class NARMUserEncoder(nn.Module):
    """The last state of a GRU over the clicks, and a weighted sum of all states (NARM; Li et al., 2017).

    ``c_g = h_t``, ``c_l = sum_j a_j h_j`` with ``a_j = v . sigmoid(A_1 h_t + A_2 h_j)``, and the result is
    ``B [c_g; c_l]``, so that its dot product with an item is the score of the paper's bilinear decoder.

    Args:
        input_dim: width of the item vectors, and of the user vectors.
        hidden_dim: width of the states. None: ``input_dim``.
        dropout: on the joined vector (paper: 0.5, and 0.25 on the item vectors, which is up to the source
            here).
    As in the paper's equations, the weights are not normalised, so their sum grows with the length of a
    history; the authors' code applies a softmax. The global and the local encoder share one GRU, as in that
    code. Unlike in ``gru``, earlier clicks contribute directly, not only through the last state.
    """

    def __init__(self, input_dim: int, hidden_dim: int | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        hidden_dim = input_dim if hidden_dim is None else hidden_dim
        self.output_dim = input_dim
        self.clicks = RaggedGRU(input_dim, hidden_dim)
        self.from_last = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.from_each = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.weigh = nn.Linear(hidden_dim, 1, bias=False)
        self.dropout = Dropout(dropout)
        self.decode = dense(2 * hidden_dim, input_dim, bias=False)

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, D) of item vectors, oldest first, and True where a click exists; an empty history is zero."""
        states_BHS, last_BS = self.clicks(clicks_BHD, mask_BH)  # zero where masked
        gates_BHS = torch.sigmoid(self.from_last(last_BS).unsqueeze(1) + self.from_each(states_BHS))
        local_BS = (self.weigh(gates_BHS).transpose(1, 2) @ states_BHS).squeeze(1)
        return self.decode(self.dropout(torch.cat([last_BS, local_BS], 1)))
