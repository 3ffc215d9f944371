"""The speed and memory benchmark in one run: ``python -m benchmarks.core`` or ``make bench``.

legorec and the plain baseline train and test on the same generated data, in turns; the figures go to
docs/benchmarks.md, and those that `benchmarks.guard` checks go to benchmarks/recorded.json. ``--quick`` only
shows that everything runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import memory, metrics, named_speed, report, subject, testing, training
from benchmarks import store as stores
from benchmarks.plain import PaddedItems, TrainingRows
from legorec.batch import Ranking
from legorec.data.store import Store
from legorec.metrics import evaluate, per_group

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurement."""

    items: int = 20_000
    users: int = 50_000
    impressions: int = 150_000  # of training, as many as MIND-small has
    held_out: int = 50_000  # impressions of dev, and of testing
    candidates: int = 20
    rounds: int = 5
    plain_steps: int = 6
    our_steps: int = 60
    named_steps: int = 20
    named: tuple[str, ...] = ()  # models of config/model; empty: all without a language model
    sample: int = 1000  # impressions that the baseline is tested on
    metric_impressions: int = metrics.NUM_IMPRESSIONS
    metric_rows: int = metrics.NUM_ROWS
    store_items: int = 50_000
    store_users: int = 50_000
    store_rows: int = 2_000_000
    store_sample: int = 20_000  # rows that UniTok is timed on


QUICK = Sizes(
    items=1_000,
    users=1_000,
    impressions=2_000,
    held_out=2_000,
    rounds=1,
    plain_steps=1,
    our_steps=5,
    named_steps=2,
    named=("lego_naml", "lego_din", "flatten_fastformer", "lego_gru4rec_id"),
    sample=50,
    metric_impressions=500,
    metric_rows=20_000,
    store_items=1_000,
    store_users=1_000,
    store_rows=20_000,
    store_sample=200,
)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def make_store(folder: Path, sizes: Sizes) -> None:
    """Generated data in MIND's shape."""
    command = [sys.executable, "-m", "process.synthetic", "--out", str(folder)]
    for name in ("items", "users", "impressions", "held_out", "candidates"):
        command += [f"--{name}", str(getattr(sizes, name))]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def measure_training(store: Store, items: PaddedItems, sizes: Sizes) -> list[training.TrainingFigures]:
    rows = TrainingRows(store, store.interactions("train"), items, subject.NUM_NEGATIVES, seed=2023)
    figures = []
    for name in subject.MODELS:
        say(f"training {name} ...")
        figures.append(
            training.measure(
                name,
                store,
                items,
                rows,
                rounds=sizes.rounds,
                plain_steps=sizes.plain_steps,
                our_steps=sizes.our_steps,
            )
        )
    return figures


def measure_named(store: Store, items: PaddedItems, sizes: Sizes) -> list[named_speed.NamedFigures]:
    rows = TrainingRows(store, store.interactions("train"), items, subject.NUM_NEGATIVES, seed=2023)
    return named_speed.measure(
        store,
        items,
        rows,
        names=sizes.named or named_speed.names(),
        rounds=min(3, sizes.rounds),
        plain_steps=max(1, sizes.plain_steps // 3),
        our_steps=sizes.named_steps,
        say=say,
    )


def measure_testing(folder: Path, items: PaddedItems, sizes: Sizes) -> list[testing.TestingFigures]:
    figures = []
    for name in subject.MODELS:
        say(f"testing {name} ...")
        figures.append(testing.measure(folder, name, items, rounds=min(3, sizes.rounds), sample=sizes.sample))
    return figures


def measure_metrics(sizes: Sizes) -> report.MetricFigures:
    say("metrics ...")
    ranking = metrics.made_up_ranking(sizes.metric_impressions, sizes.metric_rows, seed=2023)
    spent = metrics.seconds(lambda: evaluate(ranking, metrics.NAMES), repeats=3)
    checked = min(2000, sizes.metric_impressions)
    stop = int(np.searchsorted(ranking.group, checked))
    sample = Ranking(ranking.group[:stop], ranking.label[:stop], ranking.score[:stop])
    expected = metrics.loop_over_impressions(sample)
    differences = [np.abs(per_group(sample, name)[1] - each).max() for name, each in expected.items()]
    differences.append(abs(evaluate(ranking, ["auc"])["auc"] - roc_auc_score(ranking.label, ranking.score)))
    return report.MetricFigures(
        sizes.metric_impressions, len(ranking.label), spent, checked, float(max(differences))
    )


def measure_store(sizes: Sizes) -> dict[str, float]:
    say("store ...")
    return stores.measure(sizes.store_items, sizes.store_users, sizes.store_rows, sizes.store_sample)


def measure_memory(folder: Path, sizes: Sizes) -> dict[str, dict[str, float] | None]:
    say("memory ...")
    steps = sizes.our_steps
    return {name: memory.in_own_process(folder, name, steps, THREADS) for name in subject.MODELS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, help="a store to measure on; one is generated by default")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="tiny rounds, printed and not written")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.store
        if folder is None:
            folder = Path(scratch) / "store"
            say("generating data ...")
            make_store(folder, sizes)
        store = Store.open(folder)
        items = PaddedItems.from_store(store)
        parts = [
            report.facts(store, THREADS),
            report.training(measure_training(store, items, sizes)),
            report.testing(measure_testing(folder, items, sizes)),
            named_speed.page(measure_named(store, items, sizes), sizes.named_steps),
            report.metrics(measure_metrics(sizes)),
            report.memory(measure_memory(folder, sizes)),
            report.store(sizes.store_items, sizes.store_users, sizes.store_rows, measure_store(sizes)),
        ]
    text = report.page(parts)
    print(text)
    if not options.quick:
        options.out.write_text(text, encoding="utf-8")
        say("ratios to hold ...")
        subprocess.run([sys.executable, "-m", "benchmarks.guard", "--record"], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
