"""Recurrent layers over rows of different lengths."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legorec.nn.dropout import Dropout
from legorec.nn.fused import PermuteRows, TakeRows
from legorec.nn.graphs import packs
from legorec.nn.scales import keep_length
from legorec.nn.segments import Segments, pack, unpack
from legorec.nn.sending import sent
from legorec.nn.sizes import check_positive


class RaggedGRU(nn.Module):
    """Gated recurrent units over each row separately: all states, and the last one of each row.

    ``nn.GRU`` row by row (Cho et al., 2014, with the reset gate after its matrix product, as in cuDNN).
    Padding costs nothing where lengths are known on the host: for packed rows, and for padded ones on the
    CPU. Rows may be empty, which ``pack_padded_sequence`` refuses, and no length is read from the device.

    Args:
        num_layers: each layer runs over the states of the one below.
        dropout: on the states between two layers.
    Raises:
        ValueError: fewer than one layer.
    The steps run in the precision of the weights, also under autocast: rounding errors add up from step to
    step, and under bf16 autocast cuDNN's layers run in fp16, where small gradients are lost.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive(num_layers=num_layers)
        self.between = Dropout(dropout)
        self.layers = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True)
        for name, value in self.layers.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(value)
            elif name.startswith("weight_ih"):
                keep_length(value, hidden_dim)

    def forward(
        self, values_BLD: Tensor, mask_BL: Tensor, first_BS: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """States (B, L, hidden_dim) of padded rows, zero where masked, and the last of each row.

        Args:
            mask_BL: real places come first in each row.
            first_BS: the state of every layer before the first place, zero if None. It is also the last state
                of an empty row.
        """
        if not packs(values_BLD):
            return self._padded(values_BLD, mask_BL, first_BS)
        states_TS, last_BS = self.packed(*pack(values_BLD, mask_BL), first_BS)
        return unpack(states_TS, mask_BL), last_BS

    def packed(
        self, values_TD: Tensor, rows: Segments, first_RS: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """States (T, hidden_dim) of packed rows, and the last of each row (R, hidden_dim)."""
        first_RS = self._first(values_TD, rows.num_rows, first_RS)
        if rows.total == 0:
            return first_RS.new_zeros(0, self.layers.hidden_size), first_RS
        *places, sizes = _by_step(rows.lengths.numpy())
        order, inverse, filled = sent(values_TD.device, *places)
        steps_TD = PermuteRows.apply(values_TD.to(first_RS.dtype), order, inverse)
        with torch.autocast(values_TD.device.type, enabled=False):
            steps, sizes_S = steps_TD, torch.from_numpy(sizes)
            first = TakeRows.apply(first_RS, filled).unsqueeze(0)
            for number, weights in enumerate(self._weights()):
                if number:
                    states_TS = self.between(PermuteRows.apply(steps, inverse, order), rows)
                    steps = PermuteRows.apply(states_TS, order, inverse)
                # As nn.GRU does with a packed sequence, but without its check, which reads a number from
                # `sizes`.
                steps, last = torch.gru(steps, sizes_S, first, weights, True, 1, 0.0, False, False)
        return PermuteRows.apply(steps, inverse, order), first_RS.index_copy(0, filled, last[-1])

    def _padded(self, values_BLD: Tensor, mask_BL: Tensor, first_BS: Tensor | None) -> tuple[Tensor, Tensor]:
        """Step over padding too; it comes last, and a state depends on earlier places only."""
        B, L, _ = values_BLD.shape
        first_BS = self._first(values_BLD, B, first_BS)
        if B * L == 0:
            return first_BS.new_zeros(B, L, self.layers.hidden_size), first_BS
        there_BL1 = mask_BL.unsqueeze(2)
        values_BLD = torch.where(there_BL1, values_BLD, 0.0).to(first_BS.dtype)
        with torch.autocast(values_BLD.device.type, enabled=False):
            states_BLS, first = values_BLD, first_BS.unsqueeze(0)
            for number, weights in enumerate(self._weights()):
                states_BLS = self.between(states_BLS) if number else states_BLS
                steps = states_BLS.transpose(0, 1)
                steps, _ = torch.gru(steps, first, weights, True, 1, 0.0, False, False, False)
                states_BLS = steps.transpose(0, 1)
        lengths_B = mask_BL.sum(1)
        places_B = torch.arange(B, device=mask_BL.device) * L + (lengths_B - 1).clamp(min=0)
        last_BS = TakeRows.apply(states_BLS.reshape(-1, states_BLS.shape[2]), places_B)
        return (
            torch.where(there_BL1, states_BLS, 0.0),
            torch.where(lengths_B.unsqueeze(1) > 0, last_BS, first_BS),
        )

    def _first(self, values: Tensor, num_rows: int, first: Tensor | None) -> Tensor:
        dtype = next(self.layers.parameters()).dtype
        if first is not None:
            return first.to(dtype)
        return values.new_zeros(num_rows, self.layers.hidden_size, dtype=dtype)

    def _weights(self) -> list[list[Tensor]]:
        """Of each layer. They run one by one, for dropout between them that is drawn by row."""
        every: list[Tensor] = list(self.layers.parameters())
        return [every[place : place + 4] for place in range(0, len(every), 4)]


def _by_step(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lay packed rows out step by step, longest row first.

    Returns: the packed place of each value in that layout and the inverse order, (T,) each; the rows that are
        not empty (R',), longest first; and how many rows each step has (L,).
    """
    filled = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    steps = np.arange(int(lengths.max()))[:, None]
    inside = steps < lengths[filled]
    order = (steps + (lengths.cumsum() - lengths)[filled])[inside]
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return order, inverse, filled, inside.sum(1)
