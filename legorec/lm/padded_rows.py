"""Packed rows as a language model takes them: padded, with positions and a mask."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from legorec.lm.attention import SHORT_ROWS
from legorec.lm.pretrained import Pretrained
from legorec.nn.segments import Segments
from legorec.nn.sending import sent

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Past:
    """What rows come after: keys and values of tokens that the model has read before.

    Args:
        cache: as transformers has it; a pass over rows without ``lengths`` fills it.
        lengths: (R,) tokens before each row; None: nothing is there yet.
        width: places of the cache, those of shorter prefixes are padding at their end.
    """

    cache: Any
    lengths: np.ndarray | None = None
    width: int = 0


class PaddedRows:
    """The arguments of a model for packed rows, and its output packed again.

    Rows of one length need no mask if every token sees all others. Otherwise the mask is made here, in four
    dimensions: with two, or none, transformers' own kinds of attention read values, which waits for the
    device. Only the model knows which of its layers have a window, so it gets a mask of two dimensions where
    a row is longer than that.
    """

    def __init__(self, pretrained: Pretrained, model: PreTrainedModel) -> None:
        config, family = pretrained.config, pretrained.family
        self.causal = family.causal
        self.names = frozenset(signature(model.forward).parameters)
        self.first_position = pretrained.first_position
        windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
        self.window = min((size for size in windows if size), default=None)
        self.own_masks = family.own_masks
        self.whole_masks = not self.own_masks and model.config._attn_implementation in (SHORT_ROWS, "sdpa")

    @property
    def longest_kept(self) -> int:
        """Tokens of the longest row that may come after others, those included, see ``Past``; 0: none may.

        The mask must be made here, and nobody knows in which layers a window would leave tokens out.
        """
        if not (self.causal and self.whole_masks):
            return 0
        return sys.maxsize if self.window is None else self.window

    def inputs(self, values_TE: Tensor, rows: Segments, past: Past | None = None) -> dict[str, Any]:
        if past is not None:
            return self._after(values_TE, rows, past)
        device, length = values_TE.device, rows.max_length
        positions = torch.arange(length, device=device)
        same = rows.total == rows.num_rows * length
        values = values_TE.view(rows.num_rows, length, -1) if same else rows.pad(values_TE)[0]
        inputs: dict[str, Any] = {"inputs_embeds": values}
        if "use_cache" in self.names or "kwargs" in self.names:
            inputs["use_cache"] = False
        if "position_ids" in self.names:
            inputs["position_ids"] = (positions + self.first_position).expand(rows.num_rows, -1)
        if same and not self.causal:
            return inputs
        beyond_window = self.window is not None and length > self.window
        if self.whole_masks and not beyond_window:
            inputs["attention_mask"] = self._seen(rows, positions, same)
        else:
            mask = rows.mask(device)
            # As a tokenizer gives it, to a model that computes with it.
            inputs["attention_mask"] = mask.long() if self.own_masks else mask
        return inputs

    def _after(self, values_TE: Tensor, rows: Segments, past: Past) -> dict[str, Any]:
        """The arguments for rows that come after others, or that others are to come after."""
        device, length = values_TE.device, rows.max_length
        positions = torch.arange(length, device=device)
        same = rows.total == rows.num_rows * length
        values = values_TE.view(rows.num_rows, length, -1) if same else rows.pad(values_TE)[0]
        seen = self._seen(rows, positions, same)
        first = torch.zeros(rows.num_rows, dtype=torch.int64, device=device)
        if past.lengths is not None:
            there, first = sent(device, np.arange(past.width) < past.lengths[:, None], past.lengths)
            seen = seen.expand(rows.num_rows, -1, -1, -1)
            seen = torch.cat([there[:, None, None, :].expand(-1, 1, length, -1), seen], dim=3)
        return {
            "inputs_embeds": values,
            "position_ids": positions + first[:, None] + self.first_position,
            "attention_mask": seen,
            "past_key_values": past.cache,
            "use_cache": True,
        }

    def _seen(self, rows: Segments, positions: Tensor, same: bool) -> Tensor:
        """(R or 1, 1, L, L) True where a token sees another."""
        earlier_LL = positions <= positions.unsqueeze(1)
        if same:
            return earlier_LL[None, None]
        seen = rows.mask(positions.device)[:, None, None, :].expand(-1, 1, rows.max_length, -1)
        return seen & earlier_LL if self.causal else seen

    def packed(self, padded_RLE: Tensor, rows: Segments) -> Tensor:
        if rows.total == rows.num_rows * rows.max_length:
            return padded_RLE.flatten(0, 1)
        return rows.unpad(padded_RLE)
