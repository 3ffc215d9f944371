"""Run the items through the lower layers once, and write the states into caches of one or several depths."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from legorec.data.catalog import Catalog
from legorec.halving import Halving
from legorec.lm.cut import LowerLayers
from legorec.lm.pretrained import DTYPES
from legorec.lm.state_cache import CacheWriter
from legorec.nn.fetching import Fetched
from legorec.nn.row_places import row_places
from legorec.nn.sending import sent

WAIT = 0.5  # seconds before asking again for shards that another process is writing


def length_sorted_batches(lengths: np.ndarray, token_budget: int) -> Iterator[np.ndarray]:
    """Rows in batches of similar length, of at most ``token_budget`` tokens with padding; no empty rows.

    A row longer than that is a batch of its own.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    start = 0
    while start < len(order):
        stop = start + fitting(lengths[order[start : start + token_budget]], token_budget)
        yield order[start:stop]
        start = stop


def fitting(lengths: np.ndarray, token_budget: int) -> int:
    """How many of the first rows make a batch; lengths rise, so the last row is the longest."""
    sizes = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(sizes, token_budget, side="right")))


def build_caches(
    writers: Sequence[CacheWriter],
    lower: LowerLayers,
    catalog: Catalog,
    *,
    token_budget: int,
    share: tuple[int, int] = (0, 1),
    advanced: Callable[[int], None] = lambda items: None,
    mean: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> None:
    """Write every shard that is missing, then the manifests.

    Args:
        writers: one for each of ``lower.depths``, in that order; a single one where ``mean``.
        share: (rank, number of ranks): this process begins with its own part of the shards and ends with
            whatever the others have not written.
        advanced: called with the number of items of each finished batch; may raise to stop.
        mean: an item has one row for each of ``lower.depths``, the mean of its tokens there, see
            ``mean_states``.
        say: called with a message when memory is short and batches are halved, which changes only the
            rounding.

    Raises:
        NoMemoryError: not even one item fits in memory.
    """
    batches = Halving(token_budget, "--exp.cache.token_budget", say)

    def build(indices: Sequence[int]) -> tuple[int, bool]:
        return 1, _build_shard(writers, lower, catalog, indices[0], batches, advanced, mean)

    in_rounds(writers, share, advanced, build)


def in_rounds(
    writers: Sequence[CacheWriter],
    share: tuple[int, int],
    advanced: Callable[[int], None],
    build: Callable[[Sequence[int]], tuple[int, bool]],
) -> None:
    """Go through the missing shards until there is none, first through this process's own, then finish.

    Args:
        build: takes the shards that are left of a round; gives how many of the first ones it dealt with, and
            whether it wrote any, or others are at them.
    """
    rank, ranks = share
    first_round = True
    # Until it is finished: where there are no locks, another builder may replace a shard at the last moment.
    while (missing := _missing(writers)) or not all([writer.finish() for writer in writers]):
        left = [index for index in missing if index % ranks == rank] if first_round else missing
        wrote = False
        while left:
            count, written = build(left)
            left, wrote = left[count:], wrote or written
        if not first_round and not wrote:
            time.sleep(WAIT)
            advanced(0)
        first_round = False


def _missing(writers: Sequence[CacheWriter]) -> list[int]:
    return sorted({index for writer in writers for index in writer.missing()})


def _build_shard(
    writers: Sequence[CacheWriter],
    lower: LowerLayers,
    catalog: Catalog,
    index: int,
    batches: Halving,
    advanced: Callable[[int], None],
    mean: bool,
) -> bool:
    with ExitStack() as stack:
        claimed = [writer for writer in writers if stack.enter_context(writer.claim(index))]
        if not claimed:
            return False
        items = writers[0].shards[index]
        if mean:
            (writer,) = claimed
            tokens, dtype = catalog.tokens(torch.arange(items.start, items.stop)), kept_dtype(writer)
            lengths = tokens.lengths.sum(1)
            means = mean_states(lower, tokens.ids, lengths, batches, dtype, advanced, items.start)
            writer.write(index, means.cpu())
            return True
        states = states_of(lower, catalog, items, claimed, batches, advanced)
        for writer in claimed:
            writer.write(index, states.pop(writer.identity.depth))
    return True


def states_of(
    lower: LowerLayers,
    catalog: Catalog,
    items: range,
    writers: Sequence[CacheWriter],
    batches: Halving,
    advanced: Callable[[int], None],
) -> dict[int, Tensor]:
    """Depth -> the packed states of some items, on the host, in the dtype to be stored."""
    tokens = catalog.tokens(torch.arange(items.start, items.stop))
    lengths = tokens.lengths.sum(1).numpy()
    kept = {
        writer.identity.depth: torch.empty(len(tokens.ids), lower.width, dtype=kept_dtype(writer))
        for writer in writers
    }

    on_the_way: list[tuple[Tensor, dict[int, Fetched]]] = []  # of the batch before, on a device

    def arrive() -> None:
        places, found = on_the_way.pop(0)
        for depth, states in found.items():
            kept[depth].index_copy_(0, places, states.wait())

    def keep(rows: np.ndarray, places: Tensor, ids: Tensor) -> None:
        found = lower.padded(ids, lengths[rows]).items()
        fetched = {depth: Fetched(states.to(kept[depth].dtype)) for depth, states in found if depth in kept}
        on_the_way.append((places, fetched))
        if ids.device.type == "cpu" or len(on_the_way) > 1:
            arrive()

    with torch.inference_mode():
        for count in in_batches(tokens.ids, lengths, batches, keep, items.start):
            advanced(count)
        while on_the_way:
            arrive()
    return kept


def mean_states(
    lower: LowerLayers,
    ids_T: Tensor,
    lengths_N: Tensor,
    batches: Halving,
    dtype: torch.dtype,
    advanced: Callable[[int], None] = lambda items: None,
    first: int = 0,
) -> Tensor:
    """(R, E) the means over each item's tokens, one row for each of ``lower.depths``, item by item.

    An item without a token has no row. Only a few states are in memory at a time, see ``LowerLayers.padded``.

    Args:
        ids_T: tokens of the items, packed; the result is on the same device.
        lengths_N: on the host.
        batches: how many tokens, with padding, are run at once.
        first: row of the first item, for messages.
    """
    lengths = lengths_N.numpy()
    places = np.cumsum(lengths > 0) - 1  # for the items that have rows
    num_items = int((lengths > 0).sum())
    means = torch.empty(num_items, len(lower.depths), lower.width, dtype=dtype, device=ids_T.device)

    def keep(rows: np.ndarray, _: Tensor, ids: Tensor) -> None:
        found = lower.padded(ids, lengths[rows], mean=True)
        (index,) = sent(ids_T.device, places[rows])
        means.index_copy_(0, index, torch.stack([found[depth] for depth in lower.depths], 1).to(dtype))

    with torch.no_grad():
        for count in in_batches(ids_T, lengths, batches, keep, first):
            advanced(count)
    return means.flatten(0, 1)


def in_batches(
    ids_T: Tensor,
    lengths: np.ndarray,
    batches: Halving,
    run: Callable[[np.ndarray, Tensor, Tensor], None],
    first: int,
) -> Iterator[int]:
    """Run batches of similar length: rows, the places of their tokens, and the tokens. Yields row counts."""
    starts = lengths.cumsum() - lengths

    def run_rows(rows: np.ndarray) -> int:
        sizes = lengths[rows]
        index = torch.from_numpy(row_places(starts[rows], sizes))
        run(rows, index, ids_T.index_select(0, *sent(ids_T.device, index)))
        return len(rows)

    for rows in length_sorted_batches(lengths, batches.size):
        yield from batches.pages(
            rows,
            run_rows,
            lambda row: f"row {first + row} of the items",
            lambda rows, token_budget: fitting(lengths[rows], token_budget),
        )


def kept_dtype(writer: CacheWriter) -> torch.dtype:
    """The dtype of states until they are written; the conversion to fp16 is left to the writer, which must
    see a value that does not fit."""
    stored = writer.identity.dtype
    return torch.float32 if stored == "fp16" else DTYPES[stored]
