"""The benchmark with language models: ``python -m benchmarks.language_models`` or ``make bench-lm``.

Writing the cache, training steps on it, and memory, on MiniLM and SmolLM2 with the titles of MovieLens-100K;
the figures go to docs/benchmarks-lm.md. ``--quick`` shows with tiny random models that everything runs. Exit
status 1: a target was not reached; the page says which.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmarks import lm_cache, lm_memory, lm_report, lm_slots, lm_subject, lm_training
from benchmarks.core import QUICK as QUICK_STORE
from benchmarks.core import THREADS, make_store, say
from benchmarks.lm_subject import PRECISIONS, ROOT, LanguageModel
from benchmarks.lm_tiny import tiny_checkpoints
from legorec.data.store import Store
from legorec.lm.cut import Precision


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurement; where they depend on the model, by its name, ``""`` for the others."""

    cache_rounds: int = 3
    cached_items: Mapping[str, int] = field(default_factory=lambda: {"SmolLM2": 600, "": 0})  # 0: all
    batch_size: Mapping[str, int] = field(default_factory=lambda: {"SmolLM2": 16, "": 64})
    step_rounds: Mapping[str, int] = field(default_factory=lambda: {"SmolLM2": 3, "": 7})
    slot_batch: int = 8
    slot_rounds: int = 3
    memory_batches: tuple[int, int] = (8, 32)
    memory_copies: int = 8
    memory_steps: int = 4


QUICK = Sizes(
    cache_rounds=1,
    cached_items={"": 200},
    batch_size={"": 4},
    step_rounds={"": 1},
    slot_batch=2,
    slot_rounds=1,
    memory_batches=(2, 4),
    memory_copies=2,
    memory_steps=1,
)


def of(sizes: Mapping[str, int], model: LanguageModel) -> int:
    return sizes.get(model.name, sizes[""])


def measure_cache(model: LanguageModel, precision: Precision, sizes: Sizes) -> lm_cache.CacheFigures:
    say(f"writing caches, {model.name} {precision} ...")
    count = of(sizes.cached_items, model) or model.catalog.num_items
    part = replace(model, catalog=lm_subject.some_items(model.catalog, torch.arange(count)))
    return lm_cache.measure(part, precision, rounds=sizes.cache_rounds)


def measure_steps(
    model: LanguageModel, precision: Precision, caches: Path, sizes: Sizes
) -> lm_training.StepFigures:
    say(f"training steps, {model.name} {precision} ...")
    batch_size, rounds = of(sizes.batch_size, model), of(sizes.step_rounds, model)
    return lm_training.measure(model, precision, caches, batch_size=batch_size, rounds=rounds)


def measure_slots(model: LanguageModel, caches: Path, sizes: Sizes) -> lm_slots.SlotFigures:
    say(f"every slot, {model.name} ...")
    return lm_slots.measure(model, "fp32", caches, batch_size=sizes.slot_batch, rounds=sizes.slot_rounds)


def measure_memory(
    model: LanguageModel, caches: Path, sizes: Sizes, threads: int
) -> list[lm_memory.MemoryFigures]:
    """Memory with a small batch, with a larger batch, and with a larger catalogue."""
    say(f"memory, {model.name} ...")
    small, large = sizes.memory_batches
    lm_memory.write_copied_cache(model, caches, "fp32", sizes.memory_copies)
    figures = []
    for batch_size, copies in ((small, 1), (large, 1), (small, sizes.memory_copies)):
        found = lm_memory.in_own_process(
            model,
            caches,
            "fp32",
            copies=copies,
            batch_size=batch_size,
            steps=sizes.memory_steps,
            threads=threads,
        )
        if found is None:
            return []
        figures.append(found)
    return figures


def prepared(scratch: Path, options: argparse.Namespace) -> list[LanguageModel]:
    """The models over a copy of the store, whose titles their tokenizers have read."""
    if options.quick:
        make_store(scratch / "generated", QUICK_STORE)
        store = scratch / "generated"
        checkpoints = tiny_checkpoints(Store.open(store), scratch / "tiny")
    else:
        store, checkpoints = options.store, lm_subject.checkpoints(options.weights)
    if options.model:
        checkpoints = [each for each in checkpoints if each.name in options.model]
    opened = lm_subject.tokenized_copy(store, scratch / "store", checkpoints)
    return [lm_subject.open_language_model(each, opened) for each in checkpoints]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=ROOT / "data" / "ML-100K")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights", help="holds minilm and smollm2")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-lm.md")
    parser.add_argument("--quick", action="store_true", help="tiny models, printed and not written")
    parser.add_argument("--model", action="append", help="only this one, printed and not written")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        models = prepared(Path(scratch), options)
        caches = Path(scratch) / "caches"
        every = [(model, precision) for model in models for precision in PRECISIONS]
        figures = lm_report.Figures(
            cache=[measure_cache(*each, sizes) for each in every],
            steps=[measure_steps(*each, caches, sizes) for each in every],
            slots=[measure_slots(model, caches, sizes) for model in models],
            memory=measure_memory(models[-1], caches, sizes, threads),
        )
        text = lm_report.page(figures, models, threads)
    print(text)
    if options.quick or options.model:
        return 0
    options.out.write_text(text, encoding="utf-8")
    return 1 if lm_report.missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
