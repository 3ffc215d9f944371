"""Ragged rows packed end to end: softmax, sums and padding that do no work on empty places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from legorec.nn.fused import SegmentSoftmax, SegmentSum, TakeRows
from legorec.nn.sending import sent

USUAL = ("offsets", "rows", "slots", "mask")


class Segments:
    """``R`` rows of different lengths, packed end to end into ``T`` values.

    ``lengths`` is a host tensor, so that every size is known without waiting for the device. All index
    tensors are built on the host (with numpy, which is twice as fast as torch at these sizes) and then sent
    to the device. Rows may be empty.
    """

    def __init__(self, lengths: Tensor) -> None:
        if lengths.device.type != "cpu" or lengths.dtype != torch.int64 or lengths.dim() != 1:
            raise ValueError(
                f"`lengths` must be a (R,) int64 tensor on the host, got "
                f"{tuple(lengths.shape)} {lengths.dtype} on {lengths.device}"
            )
        self.lengths = lengths
        self._lengths = lengths.numpy()
        self.num_rows = len(lengths)
        self.total = int(self._lengths.sum())
        self.max_length = int(self._lengths.max()) if self.num_rows else 0
        self._made: dict[tuple[str, torch.device], Tensor] = {}

    def offsets(self, device: torch.device | str = "cpu") -> Tensor:
        """(R + 1,) the start of each row, and the end of the last."""
        return self._place("offsets", device)

    def rows(self, device: torch.device | str = "cpu") -> Tensor:
        """(T,) the row of each packed value."""
        return self._place("rows", device)

    def slots(self, device: torch.device | str = "cpu") -> Tensor:
        """(T,) the place of each packed value in the flattened padded form (R * L)."""
        return self._place("slots", device)

    def mask(self, device: torch.device | str = "cpu") -> Tensor:
        """(R, L) True where the padded form holds a value."""
        return self._place("mask", device)

    def edges(self, reach: int, device: torch.device | str = "cpu") -> tuple[list[Tensor], list[Tensor]]:
        """Places of the first 1, 2, ... ``reach`` values of each row, or of all values of a shorter row; and
        of the last ones."""
        places = [f"{side} {count}" for side in ("heads", "tails") for count in range(1, reach + 1)]
        found = self._placed(places, device)
        return found[:reach], found[reach:]

    def _place(self, name: str, device: torch.device | str) -> Tensor:
        return self._placed([name], device)[0]

    def _placed(self, names: Sequence[str], device: torch.device | str) -> list[Tensor]:
        """Index tensors by name; those that are missing are sent together.

        On a device the usual ones go with them: one copy more costs more than its bytes.
        """
        device = torch.device(device)
        if missing := [name for name in names if (name, device) not in self._made]:
            if device.type != "cpu":
                missing += [
                    name for name in USUAL if (name, device) not in self._made and name not in missing
                ]
            found = sent(device, *map(self._make, missing))
            self._made.update({(name, device): each for name, each in zip(missing, found, strict=True)})
        return [self._made[name, device] for name in names]

    def _make(self, name: str) -> np.ndarray:
        lengths = self._lengths
        ends = lengths.cumsum()
        starts = ends - lengths
        if name == "offsets":
            return np.append(0, ends)
        if name == "rows":
            return np.repeat(np.arange(self.num_rows), lengths)
        if name == "mask":
            return np.arange(self.max_length) < lengths[:, None]
        if name == "slots":
            return np.arange(self.total) + np.repeat(
                np.arange(self.num_rows) * self.max_length - starts, lengths
            )
        side, count = name.split()
        steps = np.arange(int(count))
        places = starts[:, None] + steps if side == "heads" else ends[:, None] - 1 - steps
        return places[steps < lengths[:, None]]

    def softmax(self, logits_T: Tensor) -> Tensor:
        """(T,) softmax within each row, in at least float32."""
        if logits_T.dtype in (torch.float16, torch.bfloat16):
            logits_T = logits_T.float()
        device = logits_T.device
        shape = (self.num_rows, self.max_length)
        return SegmentSoftmax.apply(logits_T, self.slots(device), self.rows(device), shape)

    def weighted_sum(self, values_TD: Tensor, weights_T: Tensor) -> Tensor:
        """(R, D) weighted sum of each row; an empty row gives zero."""
        device = values_TD.device
        weights_T = weights_T.to(values_TD.dtype)
        return SegmentSum.apply(values_TD, weights_T, self.offsets(device), self.rows(device))

    def mean(self, values_TD: Tensor) -> Tensor:
        """(R, D) mean of each row; an empty row gives zero."""
        shares_T = np.repeat(1.0 / np.maximum(self._lengths, 1), self._lengths)
        (weights_T,) = sent(values_TD.device, torch.from_numpy(shares_T).to(values_TD.dtype))
        return self.weighted_sum(values_TD, weights_T)

    def end(self, values_TD: Tensor, side: Literal["first", "last"]) -> Tensor:
        """(R, D) the first or the last value of each row; an empty row gives zero."""
        chosen = np.zeros(self.total, dtype=np.float32)
        filled = self._lengths > 0
        ends = self._lengths.cumsum()
        chosen[(ends - self._lengths if side == "first" else ends - 1)[filled]] = 1.0
        (weights_T,) = sent(values_TD.device, chosen)
        return self.weighted_sum(values_TD, weights_T)

    def pad(self, values_TD: Tensor) -> tuple[Tensor, Tensor]:
        """(R, L, D) with zeros after each row, and the mask (R, L)."""
        device = values_TD.device
        width = values_TD.shape[1]
        padded = values_TD.new_zeros(self.num_rows * self.max_length, width)
        padded = padded.index_copy(0, self.slots(device), values_TD)
        return padded.view(self.num_rows, self.max_length, width), self.mask(device)

    def unpad(self, padded_RLD: Tensor) -> Tensor:
        """(T, D) the packed values of a padded tensor."""
        return TakeRows.apply(padded_RLD.flatten(0, 1), self.slots(padded_RLD.device))


def pack(values_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Segments]:
    """The values of a padded tensor where the mask is True, row by row.

    For the host only: another device would have to be waited for to learn the lengths.
    """
    mask = mask_BL.numpy()
    places = torch.from_numpy(np.flatnonzero(mask))
    lengths = torch.from_numpy(mask.sum(1, dtype=np.int64))
    return TakeRows.apply(values_BLD.flatten(0, 1), places), Segments(lengths)


def unpack(values_TD: Tensor, mask_BL: Tensor) -> Tensor:
    """(B, L, D) the packed values where the mask is True and zero elsewhere; the inverse of ``pack``."""
    places = torch.from_numpy(np.flatnonzero(mask_BL.numpy()))
    padded = values_TD.new_zeros(mask_BL.numel(), values_TD.shape[1]).index_copy(0, places, values_TD)
    return padded.view(*mask_BL.shape, values_TD.shape[1])
