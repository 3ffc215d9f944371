"""One pass over the items through the lower layers, written into the caches of one or several depths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from legorec.data.catalog import Catalog
from legorec.lm.cut import LowerLayers
from legorec.lm.pretrained import DTYPES
from legorec.lm.state_cache import CacheWriter

WAIT = 0.5  # seconds before asking again for shards that another process is at


def length_sorted_batches(lengths: np.ndarray, token_budget: int) -> Iterator[np.ndarray]:
    """Rows in batches of like length, of at most ``token_budget`` tokens with padding; empty rows in none.

    A row that alone is longer is a batch of its own.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    start = 0
    while start < len(order):
        ahead = lengths[order[start : start + token_budget]]
        sizes = ahead * np.arange(1, len(ahead) + 1)  # lengths rise, so the last row is the widest
        stop = start + max(1, int(np.searchsorted(sizes, token_budget, side="right")))
        yield order[start:stop]
        start = stop


def build_caches(
    writers: Sequence[CacheWriter],
    lower: LowerLayers,
    catalog: Catalog,
    *,
    token_budget: int,
    share: tuple[int, int] = (0, 1),
    advanced: Callable[[int], None] = lambda items: None,
) -> None:
    """Write every shard that is missing, then the manifests.

    Args:
        writers: one for each of ``lower.depths``, in that order.
        share: (rank, number of ranks): this process begins with its own part of the shards, and ends with
            what others have left.
        advanced: called with the items of each batch that is done; may raise to stop.
    """
    rank, ranks = share
    first_round = True
    while missing := sorted({index for writer in writers for index in writer.missing()}):
        mine = [index for index in missing if index % ranks == rank] if first_round else missing
        written = [_build_shard(writers, lower, catalog, index, token_budget, advanced) for index in mine]
        if not first_round and not any(written):
            time.sleep(WAIT)
            advanced(0)
        first_round = False
    for writer in writers:
        writer.finish()


def _build_shard(
    writers: Sequence[CacheWriter],
    lower: LowerLayers,
    catalog: Catalog,
    index: int,
    token_budget: int,
    advanced: Callable[[int], None],
) -> bool:
    with ExitStack() as stack:
        claimed = [writer for writer in writers if stack.enter_context(writer.claim(index))]
        if not claimed:
            return False
        states = states_of(lower, catalog, writers[0].shards[index], claimed, token_budget, advanced)
        for writer in claimed:
            writer.write(index, states.pop(writer.identity.depth))
    return True


def states_of(
    lower: LowerLayers,
    catalog: Catalog,
    items: range,
    writers: Sequence[CacheWriter],
    token_budget: int,
    advanced: Callable[[int], None] = lambda items: None,
) -> dict[int, Tensor]:
    """Depth -> the packed states of some items, on the host, in the dtype in which they will be stored."""
    tokens = catalog.tokens(torch.arange(items.start, items.stop))
    lengths = tokens.lengths.sum(1).numpy()
    starts = lengths.cumsum() - lengths
    # fp16 is left to the writer: it has to see the value that does not fit.
    kept = {
        writer.identity.depth: torch.empty(
            len(tokens.ids),
            lower.width,
            dtype=torch.float32 if writer.identity.dtype == "fp16" else DTYPES[writer.identity.dtype],
        )
        for writer in writers
    }
    with torch.inference_mode():
        for rows in length_sorted_batches(lengths, token_budget):
            sizes = lengths[rows]
            places = np.repeat(starts[rows] - (sizes.cumsum() - sizes), sizes) + np.arange(int(sizes.sum()))
            index = torch.from_numpy(places)
            ids = tokens.ids.index_select(0, index.to(tokens.ids.device, non_blocking=True))
            for depth, states in lower.padded(ids, sizes).items():
                if depth in kept:
                    kept[depth].index_copy_(0, index, states.to(kept[depth].dtype).cpu())
            advanced(len(rows))
    return kept
