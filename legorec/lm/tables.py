"""Tables of vectors from a language model: its token embeddings, and a vector for each item."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from legorec.data.ragged import Ragged
from legorec.data.vectors import Rows
from legorec.data.writing.progress import Progress
from legorec.halving import Halving
from legorec.lm.cut import LowerLayers, Precision, UpperLayers
from legorec.lm.layer_work import LayerWork, fitting
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.lm.sentence_folder import POOLS, Pool
from legorec.lm.stream_plan import Streaming
from legorec.lm.streamed import StreamedLayers
from legorec.nn.segments import Segments


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
    width: int | None = None,
    dtype: Precision = "fp32",
    device: torch.device | str = "cpu",
    token_budget: int = 8192,
    streaming: Streaming | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """(N, E) float32: the final states of each item's tokens as one vector; zeros if there is no token.

    Args:
        tokens: token ids of the items, with the special tokens that the model expects.
        pool: ``mean`` over all tokens, the first (``cls``), or the ``last``. Rows are packed, so no padding
            is ever pooled, whichever side a tokenizer would put it on.
        normalize: scale vectors to length 1, after they are cut.
        width: keep the first numbers alone, for models that were trained so (Kusupati et al., 2022,
            Matryoshka representation learning); None keeps all.
        dtype: of the weights and of the computation.
        token_budget: tokens, with padding, that go through the model at once; halved when memory is short.
        streaming: read one layer at a time, with so many batches (``shards``) in memory at once; the result
            is the same to the byte. None holds the whole model.
    Raises:
        ValueError: an unknown pool, a budget of 0, a width that the model does not have, or an item longer
            than the positions allow.
        NoMemoryError: not even one item fits in memory.
    """
    _check(pretrained, tokens, pool, width, token_budget)
    depth = pretrained.num_layers
    final = UpperLayers(pretrained, depth, dtype).to(device).eval()
    vectors = torch.zeros(len(tokens), width or pretrained.output_width)
    batches = list(_batches(tokens.lengths, token_budget))
    say, progress = progress.say if progress else warnings.warn, progress or Progress()

    def keep(rows: np.ndarray, states_TE: Tensor) -> None:
        lengths = torch.from_numpy(tokens.lengths[rows])
        pooled = _pooled(final(states_TE, lengths).float(), Segments(lengths), pool)
        vectors[rows] = pooled[:, :width].cpu()

    work = LayerWork(tokens, Halving(token_budget, "--token_budget", say), device, keep)
    with torch.inference_mode():
        if streaming is None:
            lower = LowerLayers(pretrained, [depth], dtype).to(device)
            for rows in progress.track(batches, "items through the model", len(batches)):
                work.in_one_piece(rows, lower)
        else:
            layers = StreamedLayers(pretrained, depth, dtype, device=device, ahead=streaming.ahead)
            passes = [
                batches[start : start + streaming.shards]
                for start in range(0, len(batches), streaming.shards)
            ]
            for some in progress.track(passes, "items through one layer after the other", len(passes)):
                work.layer_by_layer(some, layers)
    return F.normalize(vectors) if normalize else vectors


def randomly_projected(table_NE: Tensor, seed: int) -> Tensor:
    """(N, E) the vectors times a matrix drawn from the seed, as long as before on average."""
    width = table_NE.shape[1]
    drawn_EE = torch.randn(width, width, generator=torch.Generator().manual_seed(seed)) / width**0.5
    return table_NE.float() @ drawn_EE


def _check(pretrained: Pretrained, tokens: Ragged, pool: str, width: int | None, token_budget: int) -> None:
    if pool not in POOLS:
        raise ValueError(f"`pool` must be one of {', '.join(POOLS)}, got '{pool}'")
    if width is not None and not 1 <= width <= pretrained.output_width:
        raise ValueError(
            f"`width` must be between 1 and {pretrained.output_width}, the width of {pretrained.name}, got "
            f"{width}"
        )
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
        count = fitting(lengths, order[start:], token_budget)
        yield order[start : start + count]
        start += count


def _pooled(states_TE: Tensor, rows: Segments, pool: str) -> Tensor:
    if pool == "mean":
        return rows.mean(states_TE)
    return rows.end(states_TE, "first" if pool == "cls" else "last")
