"""One language model as two: the layers below a depth, and those above it.

``depth`` counts the layers already applied: depth 0 is the input of the first layer, and the lower part up to
a depth followed by the upper part from there is the whole model. The model's list of layers keeps its length:
modules that pass their input on replace the layers left out. So layer numbers, window types and the names of
adapters stay correct.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from legorec.lm.attention import AUTO, implementation
from legorec.lm.cut_check import check_cut
from legorec.lm.length_groups import LengthGroups
from legorec.lm.model_types import PassThrough, layers_at, replace
from legorec.lm.padded_rows import PaddedRows, Past
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.lm.row_dropout import computed_again, row_dropout
from legorec.nn.drawing import belonging, entry, keys_now
from legorec.nn.dropout import Dropout
from legorec.nn.segments import Segments

Precision = Literal["fp32", "bf16", "fp16"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


ONE = np.ones(1, dtype=np.int64)  # the length of a row of one token


class PassEmbeddings(nn.Module):
    """Takes the place of BERT's embeddings: the input has already been through them."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor | None:
        return inputs_embeds


class NoPositions(nn.Module):
    """Takes the place of learned positions: the input already contains them."""

    def forward(self, positions: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.zeros((), device=positions.device)


@dataclass
class Pass:
    """One pass through the layers: what is kept of the states at each depth."""

    keep: Callable[[Tensor], Tensor]
    seen: dict[int, Tensor] = field(default_factory=dict)


# Of this thread. Kept on the model, it would be another thread's too, and that of every copy of the model.
PASS: ContextVar[Pass] = ContextVar("pass")


@dataclass(frozen=True)
class Taken:
    """A hook on the layer after a depth, whose input is the states there."""

    depth: int

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        now = PASS.get()
        now.seen[self.depth] = now.keep(inputs[0])


class LowerLayers(nn.Module):
    """The embeddings and the first layers, frozen: token ids -> the states at one or several depths.

    Args:
        depths: layers applied; as many are loaded as the deepest needs. Where that is all layers, states are
            taken before the final norm.
        dtype: of the weights and of the computation.
        attention: name of the implementation in transformers.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        depths: Sequence[int],
        dtype: Precision = "fp32",
        attention: Attention = "auto",
    ) -> None:
        super().__init__()
        self.depths = tuple(depths)
        _check(pretrained, self.depths)
        self.width = pretrained.width
        family = pretrained.family
        self.model = pretrained.skeleton(None if attention == AUTO else attention)
        self.path = family.layers
        layers = self.layers
        for place in range(max(depths), len(layers)):
            layers[place] = PassThrough(layers[place], family.layer_outputs)
        for path in family.after:
            replace(self.model, path, nn.Identity())
        for path in family.first if not max(depths) else ():
            replace(self.model, path, None)
        pretrained.fill(self.model, DTYPES[dtype])
        self.requires_grad_(False)
        self.eval()
        self._rows = PaddedRows(pretrained, self.model)
        for depth in self.depths:
            if depth < len(layers):
                layers[depth].register_forward_pre_hook(Taken(depth))

    @property
    def longest_kept(self) -> int:
        """See ``PaddedRows``; embeddings alone need no keys."""
        return self._rows.longest_kept if max(self.depths) else sys.maxsize

    def train(self, mode: bool = True) -> LowerLayers:
        """Frozen layers never have dropout, whatever the mode of the rest of the model."""
        return super().train(False)

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, of which some only pass on."""
        return layers_at(self.model, self.path)

    def idle(self) -> Tensor:
        """A pass over one token that nobody needs, see ``legorec.lm.spread``."""
        with torch.no_grad():
            device = next(self.parameters()).device
            return self.padded(torch.zeros(1, dtype=torch.int64, device=device), ONE)[self.depths[0]]

    def padded(
        self, ids_T: Tensor, lengths: np.ndarray, mean: bool = False, past: Past | None = None
    ) -> dict[int, Tensor]:
        """Depth -> packed states (T, E) of rows that are run as one padded batch; no row may be empty.

        With ``mean``, depth -> the mean of each row (R, E), in at least float32. It is taken layer by layer,
        so that the states of many depths are never in memory together.
        """
        rows = Segments(torch.from_numpy(lengths))
        inputs = self._rows.inputs(ids_T.unsqueeze(1), rows, past)
        inputs["input_ids"] = inputs.pop("inputs_embeds").squeeze(2)

        def keep(padded_RLE: Tensor) -> Tensor:
            packed_TE = self._rows.packed(padded_RLE, rows)
            if not mean:
                return packed_TE
            return rows.mean(packed_TE.to(torch.promote_types(packed_TE.dtype, torch.float32)))

        now = Pass(keep)
        before = PASS.set(now)
        try:
            out = self.model(**inputs).last_hidden_state
            return {depth: now.seen[depth] if depth in now.seen else keep(out) for depth in self.depths}
        finally:
            PASS.reset(before)
            now.seen.clear()  # also when memory runs out: a smaller batch needs what this frees

    def forward(self, ids_T: Tensor, lengths_R: Tensor) -> dict[int, Tensor]:
        """Depth -> packed states (T, E) of packed rows of token ids; ``lengths_R`` is on the host."""
        groups = LengthGroups(lengths_R, ids_T.device)
        if not groups.lengths:
            dtype = next(self.parameters()).dtype
            return {
                depth: torch.zeros(0, self.width, dtype=dtype, device=ids_T.device) for depth in self.depths
            }
        with torch.no_grad():
            done = [
                self.padded(ids, lengths)
                for ids, lengths in zip(groups.split(ids_T), groups.lengths, strict=True)
            ]
            return {depth: groups.join([each[depth] for each in done]) for depth in self.depths}


class UpperLayers(nn.Module):
    """The layers from ``depth`` on and the final norm: states at ``depth`` -> final states.

    The embeddings and the layers below are neither built nor read from disk.

    Args:
        depth: layers that the states have been through.
        attention: its name in transformers; None: what ``LowerLayers`` takes for ``auto``.
        gradient_checkpointing: compute the layers again in the backward pass instead of storing what it
            needs.
        stop: leave out the layers from there on and the final norm too; the result is the states there.
    """

    pretrained = True  # so that `item_lr` applies

    def __init__(
        self,
        pretrained: Pretrained,
        depth: int,
        dtype: Precision = "fp32",
        attention: Attention | None = "auto",
        gradient_checkpointing: bool = False,
        stop: int | None = None,
    ) -> None:
        super().__init__()
        self.depth = depth
        _check(pretrained, [depth])
        self.width = pretrained.width
        self.output_dim = pretrained.output_width if stop is None else pretrained.width
        family = pretrained.family
        if attention == AUTO and not family.short_rows:
            attention = None
        self.model = pretrained.skeleton(attention and implementation(attention))
        if gradient_checkpointing:
            # Before the embeddings go: it looks for them. Its older name is deprecated in transformers 5.
            enable = getattr(self.model, "activation_checkpointing_enable", None)
            how = {"use_reentrant": False, "context_fn": computed_again}
            (enable or self.model.gradient_checkpointing_enable)(how)
        self.path = family.layers
        layers = self.layers
        for place in range(depth):
            layers[place] = PassThrough(layers[place], family.layer_outputs)
        if stop is not None:
            for place in range(stop, len(layers)):
                layers[place] = PassThrough(layers[place], family.layer_outputs)
            for path in family.after:
                replace(self.model, path, nn.Identity())
        for path in family.first if depth else ():
            replace(self.model, path, None)
        for path in family.embeddings:
            replace(self.model, path, PassEmbeddings())
        for path in family.positions:
            replace(self.model, path, NoPositions())
        for path in family.before:
            replace(self.model, path, nn.Identity())
        if family.scale:
            setattr(self.model, family.scale, 1.0)
        if not family.embeddings:
            self.model.set_input_embeddings(nn.Identity())
        for path, module in list(self.model.named_modules()):
            if type(module) is nn.Dropout:
                replace(self.model, path, Dropout(module.p))
        pretrained.fill(self.model, DTYPES[dtype])
        self._rows = PaddedRows(pretrained, self.model)

    @property
    def dtype(self) -> torch.dtype | None:
        """That of the layers as they were filled: adapters are wider, and rounded weights are no numbers."""
        frozen = [each for each in self.parameters() if not each.requires_grad and each.is_floating_point()]
        return next((each.dtype for each in (*frozen, *self.parameters())), None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        implementation(AUTO)  # in a new process, transformers does not know our attention yet
        super().__setstate__(state)

    def forward(self, values_TE: Tensor, lengths_R: Tensor) -> Tensor:
        """Final states (T, output_dim) of packed rows; ``lengths_R`` is on the host."""
        groups = LengthGroups(lengths_R, values_TE.device)
        at, keys = entry("language model"), keys_now()
        if not groups.lengths:
            return values_TE.new_zeros(0, self.output_dim)
        done = []
        for values, lengths, chosen in zip(groups.split(values_TE), groups.lengths, groups.rows, strict=True):
            own = None if keys is None else keys[torch.from_numpy(chosen)]
            with belonging(at, own), row_dropout(len(lengths), self.training):
                done.append(self.padded(values, lengths))
        return groups.join(done)

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, of which some only pass on."""
        return layers_at(self.model, self.path)

    def idle(self) -> Tensor:
        """A pass over one token that nobody needs, see ``legorec.lm.spread``."""
        device = next(self.parameters()).device
        return self.padded(torch.zeros(1, self.width, dtype=self.dtype, device=device), ONE)

    @property
    def longest_kept(self) -> int:
        """See ``PaddedRows``."""
        return self._rows.longest_kept

    def padded(self, values_TE: Tensor, lengths: np.ndarray, past: Past | None = None) -> Tensor:
        """``forward`` of rows that are run as one padded batch; no row may be empty."""
        rows = Segments(torch.from_numpy(lengths))
        out = self.model(**self._rows.inputs(values_TE, rows, past)).last_hidden_state
        return self._rows.packed(out, rows)


def _check(pretrained: Pretrained, depths: Sequence[int]) -> None:
    """Try the cut of a type that has no row, once a depth; not where only sizes are asked for."""
    new = sorted({*depths} - pretrained.checked)
    if not pretrained.tried or not new or torch.get_default_device().type == "meta":
        return
    check_cut(pretrained, new, LowerLayers, UpperLayers)
    pretrained.checked.update(new)
