"""Run the items of several shards through one layer after the other, and write the states into caches."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from legorec.data.catalog import Catalog
from legorec.halving import Halving
from legorec.lm.build_cache import fitting, in_batches, in_rounds, kept_dtype
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.state_cache import CacheWriter
from legorec.lm.streamed import StreamedLayers
from legorec.nn.segments import Segments

# A pass over the layers takes more shards than before as long as it spends more than this part of its time
# on waiting for weights. What is not written yet is lost when the run is stopped, so more is not better.
WAITING = 0.1


@dataclass(frozen=True)
class _Batch:
    """Items of one shard that run together: rows, and places of tokens, in the shard; the states so far."""

    shard: int
    rows: np.ndarray
    lengths: np.ndarray
    places: Tensor
    values: Tensor

    def part(self, chosen: np.ndarray, values: Callable[[Tensor, np.ndarray], Tensor]) -> _Batch:
        """Some of the items, one after the other, with new states."""
        start, stop = int(chosen[0]), int(chosen[-1]) + 1
        first, last = int(self.lengths[:start].sum()), int(self.lengths[:stop].sum())
        lengths = self.lengths[start:stop]
        return _Batch(
            self.shard,
            self.rows[start:stop],
            lengths,
            self.places[first:last],
            values(self.values[first:last], lengths),
        )


def stream_caches(
    writers: Sequence[CacheWriter],
    layers: StreamedLayers,
    catalog: Catalog,
    *,
    depths: Sequence[int],
    token_budget: int,
    most_shards: int = 1,
    share: tuple[int, int] = (0, 1),
    advanced: Callable[[float], None] = lambda items: None,
    mean: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> None:
    """Write every shard that is missing, then the manifests: the bytes that ``build_caches`` writes.

    The states of several shards are in memory while one layer after the other is read. A pass that was
    stopped is lost, all shards of the passes before it stay.

    Args:
        writers: one for each of ``depths``, in that order; a single one where ``mean``.
        most_shards: at once. The first pass takes one, the next ones more if reading takes much of the time.
        advanced: called with the items of each finished batch, divided by the number of layers.
        say: called with a message after each pass, and when memory is short.

    The others are those of ``build_caches``.
    """
    batches = Halving(token_budget, "--exp.cache.token_budget", say)
    at_once = 1

    def build(indices: Sequence[int]) -> tuple[int, bool]:
        nonlocal at_once
        chosen = indices[:at_once]
        with ExitStack() as stack:
            claims = {
                index: [writer for writer in writers if stack.enter_context(writer.claim(index))]
                for index in chosen
            }
            claims = {index: mine for index, mine in claims.items() if mine}
            if not claims:
                return len(chosen), False
            begin, before = time.monotonic(), layers.waited
            one = _Pass(claims, layers, catalog, list(depths), batches, advanced, mean)
            one.run()
        seconds, waited = time.monotonic() - begin, layers.waited - before
        say(
            f"{one.num_items:,} items through {one.deepest} layers in {seconds:.1f} s, {waited:.1f} s of "
            "which were spent on waiting for weights"
        )
        if waited > WAITING * seconds:
            at_once = min(2 * at_once, most_shards)
        return len(chosen), True

    in_rounds(writers, share, advanced, build)


class _Pass:
    """One pass over the layers with the items of some shards.

    Args:
        claims: the writers that lack a shard, for each shard.
        depths: all of them where ``mean``, which then are the rows of an item.
    """

    def __init__(
        self,
        claims: Mapping[int, Sequence[CacheWriter]],
        layers: StreamedLayers,
        catalog: Catalog,
        depths: list[int],
        batches: Halving,
        advanced: Callable[[float], None],
        mean: bool,
    ) -> None:
        self.claims, self.layers, self.depths, self.mean = claims, layers, depths, mean
        self.batches, self.advanced = batches, advanced
        self.deepest = max(writer.identity.depth for writers in claims.values() for writer in writers)
        self.items = {index: writers[0].shards[index] for index, writers in claims.items()}
        self.tokens = {
            index: catalog.tokens(torch.arange(rows.start, rows.stop)) for index, rows in self.items.items()
        }
        self.num_items = sum(map(len, self.items.values()))
        self.flight: deque[_Batch] = deque()
        self.means = {index: self._no_means(index) for index in claims if mean}

    def run(self) -> None:
        """Write the shards, each as soon as its states are there."""
        if any(len(tokens.ids) for tokens in self.tokens.values()):
            # Closed at once, so that no thread goes on reading when the run is stopped.
            with torch.no_grad(), closing(self.layers.parts(self.deepest)) as parts:
                for depth, part in parts:
                    # As in one piece; a device may choose other kernels otherwise.
                    with nullcontext() if self.mean else torch.inference_mode():
                        if isinstance(part, LowerLayers):
                            self._embed(part)
                        else:
                            self._apply(part)
                    self._keep(depth)
        else:
            for depth in range(self.deepest + 1):
                self._keep(depth)

    def _embed(self, embeddings: LowerLayers) -> None:
        for shard, tokens in self.tokens.items():
            lengths = tokens.lengths.sum(1).numpy()

            def run(rows: np.ndarray, places: Tensor, ids: Tensor, shard: int = shard) -> None:
                own = self.tokens[shard].lengths.sum(1).numpy()[rows]
                self.flight.append(_Batch(shard, rows, own, places, embeddings.padded(ids, own)[0]))

            for count in in_batches(tokens.ids, lengths, self.batches, run, self.items[shard].start):
                self.advanced(count / (self.deepest + 1))

    def _apply(self, layer: UpperLayers) -> None:
        for _ in range(len(self.flight)):
            for done in self._through(layer, self.flight.popleft()):
                self.flight.append(done)
                self.advanced(len(done.rows) / (self.deepest + 1))

    def _through(self, layer: UpperLayers, batch: _Batch) -> Iterator[_Batch]:
        """The batch with the states after the layer, in several batches where memory is short."""
        first = self.items[batch.shard].start

        def run(chosen: np.ndarray) -> _Batch:
            return batch.part(chosen, layer.padded)

        def name(row: int) -> str:
            return f"row {first + batch.rows[row]} of the items"

        def fits(chosen: np.ndarray, token_budget: int) -> int:
            return fitting(batch.lengths[chosen], token_budget)

        return self.batches.pages(np.arange(len(batch.rows)), run, name, fits)

    def _keep(self, depth: int) -> None:
        if self.mean:
            self._keep_means(depth)
            return
        for shard, writers in self.claims.items():
            for writer in writers:
                if writer.identity.depth == depth:
                    writer.write(shard, self._states(shard, kept_dtype(writer)))
            if depth == max(writer.identity.depth for writer in writers):  # its items have arrived
                self.flight = deque(batch for batch in self.flight if batch.shard != shard)

    def _states(self, shard: int, dtype: torch.dtype) -> Tensor:
        """(T, E) on the host, in the order of the items."""
        width = self.layers.pretrained.width
        states = torch.empty(len(self.tokens[shard].ids), width, dtype=dtype)
        for batch in self.flight:
            if batch.shard == shard:
                states.index_copy_(0, batch.places, batch.values.to(dtype).cpu())
        return states

    def _no_means(self, shard: int) -> Tensor:
        (writer,) = self.claims[shard]
        num_items = int((self.tokens[shard].lengths.sum(1) > 0).sum())
        shape = (num_items, len(self.depths), self.layers.pretrained.width)
        return torch.empty(shape, dtype=kept_dtype(writer))

    def _keep_means(self, depth: int) -> None:
        if depth in self.depths:
            for batch in self.flight:
                lengths = self.tokens[batch.shard].lengths.sum(1).numpy()
                places = torch.from_numpy((np.cumsum(lengths > 0) - 1)[batch.rows])
                wide = batch.values.to(torch.promote_types(batch.values.dtype, torch.float32))
                found = Segments(torch.from_numpy(batch.lengths)).mean(wide)
                means = self.means[batch.shard]
                means[:, self.depths.index(depth)].index_copy_(0, places, found.to(means.dtype).cpu())
        if depth == self.deepest:
            for shard, (writer,) in self.claims.items():
                writer.write(shard, self.means[shard].flatten(0, 1))
