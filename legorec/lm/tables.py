"""Tables of vectors from a language model: its token embeddings, and a vector for each item."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from legorec.data.ragged import Ragged
from legorec.data.vectors import Rows
from legorec.data.writing.progress import Progress
from legorec.halving import Halving
from legorec.lm.cut import LowerLayers, Precision, UpperLayers
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.nn.segments import Segments

Pool = Literal["mean", "cls", "last"]
POOLS = ("mean", "cls", "last")


def token_table(pretrained: Pretrained, dtype: Precision | None = None) -> tuple[Tensor, Rows]:
    """(V, E) all token embeddings, and the tokens that the first rows belong to.

    V is the checkpoint's and may exceed the size of the tokenizer: rows that pad the table belong to no
    token.

    Args:
        dtype: None keeps that of the checkpoint, and maps the file.
    """
    rows = Rows.of_tokens(pretrained.tokenizer())
    table = pretrained.token_table()
    return table if dtype is None else table.to(DTYPES[dtype]), rows


def item_vectors(
    pretrained: Pretrained,
    tokens: Ragged,
    pool: Pool,
    *,
    normalize: bool = False,
    dtype: Precision = "fp32",
    device: torch.device | str = "cpu",
    token_budget: int = 8192,
    progress: Progress | None = None,
) -> Tensor:
    """(N, E) float32: the final states of each item's tokens as one vector; zeros if there is no token.

    Args:
        tokens: token ids of the items, with the special tokens that the model expects.
        pool: ``mean`` over all tokens, the first (``cls``), or the ``last``.
        normalize: scale vectors to length 1.
        dtype: of the weights and of the computation.
        token_budget: tokens, with padding, that go through the model at once; halved when memory is short.
    Raises:
        ValueError: an unknown pool, a budget of 0, or an item longer than the positions allow.
        NoMemoryError: not even one item fits in memory.
    """
    _check(pretrained, tokens, pool, token_budget)
    depth = pretrained.num_layers
    lower = LowerLayers(pretrained, [depth], dtype).to(device)
    upper = UpperLayers(pretrained, depth, dtype).to(device).eval()
    vectors = torch.zeros(len(tokens), pretrained.output_width)
    halved = Halving(token_budget, "--token_budget", progress.say if progress else warnings.warn)

    def keep(rows: np.ndarray) -> None:
        chosen = tokens.take(rows)
        lengths = torch.from_numpy(chosen.lengths)
        ids = torch.from_numpy(chosen.values).to(device).long()
        states = upper(lower(ids, lengths)[depth], lengths).float()
        vectors[rows] = _pooled(states, Segments(lengths), pool).cpu()

    batches = list(_batches(tokens.lengths, token_budget))
    with torch.inference_mode():
        for rows in (progress or Progress()).track(batches, "items through the model", len(batches)):
            list(halved.pages(rows, keep, "row {} of the items".format, partial(_fitting, tokens.lengths)))
    return F.normalize(vectors) if normalize else vectors


def _check(pretrained: Pretrained, tokens: Ragged, pool: str, token_budget: int) -> None:
    if pool not in POOLS:
        raise ValueError(f"`pool` must be one of {', '.join(POOLS)}, got '{pool}'")
    if token_budget < 1:
        raise ValueError(f"`token_budget` must be at least 1, got {token_budget}")
    longest = int(tokens.lengths.max()) if len(tokens) else 0
    if longest > pretrained.max_length:
        raise ValueError(
            f"the longest item has {longest} tokens, {pretrained.name} takes at most "
            f"{pretrained.max_length}; give the fields of the template budgets, as in {{title:20}}"
        )


def _batches(lengths: np.ndarray, token_budget: int) -> Iterator[np.ndarray]:
    """Rows of similar length, the longest first, so that a device that is too small fails at once."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        count = _fitting(lengths, order[start:], token_budget)
        yield order[start : start + count]
        start += count


def _fitting(lengths: np.ndarray, rows: np.ndarray, token_budget: int) -> int:
    """How many of the first rows make a batch; the first row is the longest."""
    return max(1, token_budget // int(lengths[rows[0]]))


def _pooled(states_TE: Tensor, rows: Segments, pool: str) -> Tensor:
    if pool == "mean":
        return rows.mean(states_TE)
    return rows.end(states_TE, "first" if pool == "cls" else "last")
