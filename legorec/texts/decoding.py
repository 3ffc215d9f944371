"""Token by token through a causal model, for a batch of prompts; its generation_config is never read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from legorec.texts.picking import Picker

SHRINK = 0.75  # a batch is made smaller when no more than this share of its rows is still going


class Guide(Protocol):
    """What one row may say next."""

    def allowed(self) -> np.ndarray:
        """(V,) True for each token that may come."""
        ...

    def advance(self, token: int) -> bool:
        """Go on by a token; True: nothing but an end can follow."""
        ...


@dataclass
class Row:
    """One text on its way.

    Args:
        prompt: its token ids.
        guide: None: anything may come.
        tokens: those that came, an end token included.
        log_probability: their sum.
        finished: it came to an end before it was cut.
    """

    prompt: Sequence[int]
    guide: Guide | None = None
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    finished: bool = False


@torch.inference_mode()
def decode(
    model: Any,
    rows: Sequence[Row],
    picker: Picker,
    ends: frozenset[int],
    max_tokens: int,
    stopped: Callable[[Sequence[Row]], Sequence[bool]] | None = None,
) -> None:
    """Fill the rows with tokens.

    Args:
        model: in evaluation mode, called with padding on the left.
        picker: of the same rows.
        ends: tokens that end a text.
        stopped: whether each of some rows has come to a stop text.

    Raises:
        ValueError: the model is of a kind that keeps no keys and values.
    """
    cache = _Cache(model, [row.prompt for row in rows], max_tokens)
    going = list(rows)
    scores_BV = cache.begin()
    for step in range(max_tokens):
        token_B, log_B = picker.pick(scores_BV, step, _allowed(going, scores_BV))
        for row, token, log in zip(going, token_B.tolist(), log_B.tolist(), strict=True):
            if row.finished:  # a row that has ended stays in its place until the batch is made smaller
                continue
            row.tokens.append(token)
            row.log_probability += log
            row.finished = token in ends or (row.guide is not None and row.guide.advance(token))
        if stopped is not None:
            for row, over in zip(going, stopped(going), strict=True):
                row.finished |= over
        left = [place for place, row in enumerate(going) if not row.finished]
        if not left or step + 1 == max_tokens:
            return
        if len(left) <= SHRINK * len(going) and cache.shrinks:
            kept = torch.tensor(left, device=token_B.device)
            going = [going[place] for place in left]
            token_B = token_B[kept]
            cache.keep(kept)
            picker.keep(kept)
        scores_BV = cache.go_on(token_B)


def _allowed(rows: Sequence[Row], scores_BV: Tensor) -> Tensor | None:
    if all(row.guide is None for row in rows):
        return None
    allowed_BV = np.ones(scores_BV.shape, dtype=bool)
    for place, row in enumerate(rows):
        if row.guide is not None and not row.finished:
            allowed_BV[place] = row.guide.allowed()
    return torch.from_numpy(allowed_BV).to(scores_BV.device)


class _Cache:
    """The states of what a model has read, and the masks and positions that belong to them."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], more: int) -> None:
        device = next(model.parameters()).device
        longest = max(map(len, prompts))
        ids_BL = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask_BL = torch.zeros(len(prompts), longest + more, dtype=torch.long)
        for row, ids in enumerate(prompts):
            ids_BL[row, longest - len(ids) :] = torch.tensor(ids, dtype=torch.long)
            mask_BL[row, longest - len(ids) :] = 1  # what will come too
        self._model, self._length = model, longest
        self._ids_BL, self._mask_BL = ids_BL.to(device), mask_BL.to(device)
        self._next_B = self._mask_BL[:, :longest].sum(-1)
        taken = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in taken
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._past: Any = None

    def begin(self) -> Tensor:
        """The scores after the prompts (B, V)."""
        positions_BL = (self._mask_BL[:, : self._length].cumsum(-1) - 1).clamp(min=0)
        return self._pass(self._ids_BL, positions_BL)

    def go_on(self, token_B: Tensor) -> Tensor:
        """The scores after one more token each."""
        self._length += 1
        self._next_B = self._next_B + 1
        return self._pass(token_B[:, None], self._next_B[:, None] - 1)

    @property
    def shrinks(self) -> bool:
        layers = getattr(self._past, "layers", [None])
        return all(hasattr(layer, "batch_select_indices") for layer in layers)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        self._past.batch_select_indices(rows)
        self._mask_BL, self._next_B = self._mask_BL[rows], self._next_B[rows]

    def _pass(self, ids_BL: Tensor, positions_BL: Tensor) -> Tensor:
        given = {"position_ids": positions_BL} if self._takes_positions else {}
        found = self._model(
            input_ids=ids_BL,
            attention_mask=self._mask_BL[:, : self._length],
            past_key_values=self._past,
            use_cache=True,
            **given,
            **self._last,
        )
        self._past = getattr(found, "past_key_values", None)
        if self._past is None:
            raise ValueError(
                f"a model of type '{self._model.config.model_type}' keeps no keys and values of what it has "
                "read, which generating needs; name another, or serve it and ask an endpoint"
            )
        scores_BV: Tensor = found.logits[:, -1]
        return scores_BV
