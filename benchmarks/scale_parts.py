"""The parts that `benchmarks.scale` measures, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from legorec.data.evaluation import Impressions
from legorec.data.ragged import Ragged
from legorec.engine.fit import Progress, fit
from legorec.engine.rank import rank
from legorec.engine.training import Training
from legorec.metrics import evaluate
from legorec.processes import ALONE
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.outputs.judged import dev_metrics
from legorec.recipes.outputs.measure import check_measurable
from legorec.recipes.tower import click_task
from legorec.recipes.train import begin_training
from legorec.scorers.clicks import ClickScorer
from legorec.settings import Settings, read_command_line

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"data": "data/synthetic", "model": "model/lego_nrms", "exp": "exp/tt-nrms"}


def settings_of(store: str, steps: int) -> Settings:
    """The named NRMS as it is trained by default, in epochs of some steps."""
    argv = [part for name, file in LAYERS.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    return read_command_line([*argv, "--data.store", store, "--epoch_batch", str(steps), "--device", "cpu"])


def train(store: str, steps: str) -> dict[str, Any]:
    """From the folder to the first batch, as in a run, then some steps."""
    begin = time.perf_counter()
    settings = settings_of(store, int(steps))
    data = open_data(settings)
    opened = time.perf_counter()
    training = training_of(settings, data)
    check_measurable(training.task.scorer("dev"), dev_metrics(settings))
    training.learning.stream.batch(0)
    ready = time.perf_counter()
    next(steps_of(training))
    return {"opening": opened - begin, "first batch": ready - opened}


def training_of(settings: Settings, data: Data) -> Training:
    """What a run trains, before its first step."""
    model = build_model(settings, data, torch.device("cpu"))
    return begin_training(settings, click_task(settings, data, model), ALONE)


def steps_of(training: Training) -> Iterator[Progress]:
    """An epoch at every ``next``."""
    return fit(
        training.model,
        training.learning.stream,
        training.learning.objective,
        training.optimizer,
        training.options,
        training.state.progress,
    )


@dataclass
class Side:
    """One of two stores that are trained on in turns."""

    training: Training
    rounds: Iterator[Progress]
    steps: int
    next_batch: int = 0

    @classmethod
    def open(cls, store: str, steps: int) -> Side:
        """Ready to go."""
        settings = settings_of(store, steps)
        data = open_data(settings)
        training = training_of(settings, data)
        return cls(training, steps_of(training), steps)

    def train(self) -> int:
        """Some steps; the number of examples."""
        return next(self.rounds).counts["examples"]

    def make_batches(self) -> int:
        """As many batches, without training on them; the number of examples."""
        numbers = range(self.next_batch, self.next_batch + self.steps)
        self.next_batch = numbers.stop
        return sum(len(self.training.learning.stream.batch(number).labels) for number in numbers)

    def distinct_items(self) -> float:
        """Per batch."""
        return sum(len(self.training.learning.stream.batch(n).items) for n in range(self.steps)) / self.steps


def compare(one: str, other: str, steps: str, rounds: str) -> dict[str, Any]:
    """Seconds per 1,000 examples on two stores, in turns: one, other, other, one, and so on."""
    sides = [Side.open(store, int(steps)) for store in (one, other)]
    jobs: dict[str, Callable[[Side], int]] = {"train": Side.train, "batches": Side.make_batches}
    found: dict[str, Any] = {}
    for name, job in jobs.items():
        for side in sides:
            job(side)
        seconds: list[list[float]] = [[], []]
        for turn in range(int(rounds)):
            for which in (0, 1) if turn % 2 else (1, 0):
                begin = time.perf_counter()
                examples = job(sides[which])
                seconds[which].append((time.perf_counter() - begin) / examples * 1000)
        ratios = [first / second for first, second in zip(*seconds, strict=True)]
        found[name] = {"seconds": [median(each) for each in seconds], "ratio": median(ratios)}
    found["batches"]["items"] = [side.distinct_items() for side in sides]
    return found


def rank_part(store: str, count: str) -> dict[str, Any]:
    """Rank the first impressions of the test split with an untrained model, and measure."""
    settings = settings_of(store, 1)
    data = open_data(settings)
    model = build_model(settings, data, torch.device("cpu"))
    whole = data.impressions("test")
    part = first_impressions(whole, int(count))
    evaluation = settings.exp.evaluation
    begin = time.perf_counter()
    scorer = ClickScorer(
        model, part, batch_size=evaluation.batch_size, item_page_size=evaluation.item_page_size
    )
    ranking = rank(scorer)
    ranked = time.perf_counter()
    evaluate(ranking)
    return {"impressions": len(part), "ranking": ranked - begin, "metrics": time.perf_counter() - ranked}


def first_impressions(data: Impressions, count: int) -> Impressions:
    """The first impressions of a split."""
    shown = data.interactions
    offsets = shown.candidates.offsets[: count + 1]
    part = replace(
        shown,
        user=shown.user[:count],
        span=shown.span[:count],
        candidates=Ragged(shown.candidates.values[: offsets[-1]], offsets),
        labels=shown.labels[: offsets[-1]],
    )
    return Impressions(part, data.histories, data.num_items, data.group_by)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "train": train,
    "compare": compare,
    "rank": rank_part,
}


@dataclass(frozen=True)
class Memory:
    """Peak memory of a process, in MiB: in total, anonymous, and mapped from files, each at its own peak. All
    are 0 if the system does not report memory."""

    peak: float
    anonymous: float
    files: float


def watched(command: Sequence[str]) -> tuple[str, Memory]:
    """A command's output on stdout, and its memory."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    highest = dict.fromkeys(("VmHWM", "RssAnon", "RssFile"), 0)
    while child.poll() is None:
        with contextlib.suppress(OSError, KeyError):  # it may have ended in between
            with open(f"/proc/{child.pid}/status") as status:
                entries = dict(line.split(":", 1) for line in status)
            highest = {key: max(kib, int(entries[key].split()[0])) for key, kib in highest.items()}
        time.sleep(0.02)
    said = child.stdout.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}")
    return said, Memory(*(kib / 1024 for kib in highest.values()))


def alone(part: str, *arguments: object, threads: int = 1) -> tuple[dict[str, Any], Memory]:
    """One of ``PARTS`` in a fresh interpreter."""
    module = [sys.executable, "-m", "benchmarks.scale_parts"]
    said, memory = watched([*module, str(threads), part, *map(str, arguments)])
    return json.loads(said), memory


def main() -> None:
    threads, part, *arguments = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(PARTS[part](*arguments)))


if __name__ == "__main__":
    main()
