"""Anonymous memory while a model trains on its cache: it grows only with the batch.

Each figure needs a process of its own:

python -m benchmarks.lm_memory STORE CHECKPOINT CACHE --depth 28 --template '{title:20}' --copies 8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import lm_subject, subject
from benchmarks.lm_subject import Checkpoint, LanguageModel
from benchmarks.lm_training import Trainer
from benchmarks.memory import MEBIBYTE, STATUS, resident
from legorec.batch import ClickBatch
from legorec.data.store import Store
from legorec.engine.fit import Stream
from legorec.lm.cut import Precision
from legorec.lm.state_cache import HiddenStateCache

PAUSE = 0.002  # seconds between two looks


@dataclass(frozen=True)
class MemoryFigures:
    """In MiB: the peak of anonymous memory, and its size at the start, before anything was opened."""

    batch_size: int
    items: int  # of the catalogue
    states: float  # cached, on disk
    before: float
    peak: float

    @property
    def growth(self) -> float:
        return self.peak - self.before


class Peak:
    """The highest anonymous memory of this process inside the context; the kernel does not record it."""

    def __enter__(self) -> Peak:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.bytes = max(self.bytes, resident("RssAnon"))
            time.sleep(PAUSE)


def copied(model: LanguageModel, copies: int) -> LanguageModel:
    """The same with every item ``copies`` times, one copy after the other."""
    items = torch.arange(model.catalog.num_items).repeat_interleave(copies)
    return replace(model, catalog=lm_subject.some_items(model.catalog, items))


def write_copied_cache(model: LanguageModel, root: Path, precision: Precision, copies: int) -> None:
    """The cache of ``copied``, made from the model's cache instead of its layers; copies have the same
    states."""
    small = lm_subject.write_cache(model, root, precision)
    cache = HiddenStateCache.open(root, small.identity)
    writer = lm_subject.cache_writer(copied(model, copies), root, precision)
    for index in writer.missing():
        items = writer.shards[index]
        writer.write(index, cache.gather(torch.arange(items.start, items.stop) // copies))
    writer.finish()


class CopiedStream:
    """The batches of a stream, whose items are spread over a catalogue of copies."""

    def __init__(self, stream: Stream, copies: int) -> None:
        self.stream, self.seed, self.copies = stream, stream.seed, copies

    def epoch(self, number: int) -> range:
        return self.stream.epoch(number)

    def batch(self, number: int) -> ClickBatch:
        batch = self.stream.batch(number)
        chosen = torch.arange(len(batch.items)) % self.copies
        return replace(batch, items=batch.items * self.copies + chosen)


def measure(
    model: LanguageModel, cache: Path, precision: Precision, *, copies: int, batch_size: int, steps: int
) -> MemoryFigures:
    """The peak over opening the cache and ``steps`` training steps."""
    larger = copied(model, copies)
    before = resident("RssAnon")
    with Peak() as peak:
        stream = CopiedStream(subject.click_stream(model.store, steps, batch_size), copies)
        trainer = Trainer(lm_subject.recommender(larger, cache, precision), stream)
        trainer.turn()
    catalog = larger.catalog
    states = int(catalog.lengths.sum()) * model.pretrained.width * 2
    return MemoryFigures(
        batch_size=batch_size,
        items=catalog.num_items,
        states=states / MEBIBYTE,
        before=before / MEBIBYTE,
        peak=peak.bytes / MEBIBYTE,
    )


def in_own_process(
    model: LanguageModel,
    cache: Path,
    precision: Precision,
    *,
    copies: int,
    batch_size: int,
    steps: int,
    threads: int,
) -> MemoryFigures | None:
    """``measure`` in a fresh interpreter; None if the system does not report memory."""
    if not STATUS.exists():
        return None
    numbers = {"copies": copies, "batch_size": batch_size, "steps": steps, "threads": threads}
    command = [sys.executable, "-m", "benchmarks.lm_memory", str(model.store.path)]
    command += [str(model.checkpoint.folder), str(cache), "--name", model.name]
    command += ["--depth", str(model.depth), "--template", model.checkpoint.template]
    command += ["--precision", precision]
    command += [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=lm_subject.ROOT)
    return MemoryFigures(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="made by lm_subject.tokenized_copy")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--template", required=True)
    parser.add_argument("--precision", choices=lm_subject.PRECISIONS, default="fp32")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = Checkpoint(options.name, options.checkpoint, options.depth, options.template)
    model = lm_subject.open_language_model(checkpoint, Store.open(options.store))
    figures = measure(
        model,
        options.cache,
        options.precision,
        copies=options.copies,
        batch_size=options.batch_size,
        steps=options.steps,
    )
    print(json.dumps(vars(figures)))


if __name__ == "__main__":
    main()
