"""A tiny store, command lines of the worker on it, and what a run leaves behind, for tests of whole runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import worker
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.engine import checkpoint

ROOT = Path(__file__).parents[2]
WORDS = [f"w{number}" for number in range(50)]
COLUMNS = (Column("title", "text"), Column("category", "category"), Column("subcategory", "categories"))
SMALL = {
    "epoch": 2,
    "batch_size": 16,
    "hidden_size": 16,
    "embed_hidden_size": 16,
    "heads": 4,
    "patience": 9,
    "eval_batch_size": 8,
    "page_size": 16,
}


def write_store(
    path: Path,
    seed: int = 0,
    num_items: int = 60,
    num_train: int = 120,
    num_candidates: int | None = None,
    labelled: bool = True,
    clicked: bool = True,
) -> Path:
    """A store with the fields of ``config/data/synthetic.yaml``; some titles and histories are empty.

    Args:
        num_candidates: of every impression; 2 to 6 by default.
        labelled: False leaves out the labels of the split ``test``.
        clicked: False leaves the split ``train`` without a click.
    """
    rng = np.random.default_rng(seed)
    ids = [f"i{number}" for number in range(num_items)]
    items = pl.DataFrame(
        {
            "id": ids,
            "title": [" ".join(rng.choice(WORDS, int(rng.integers(0, 8)))) for _ in ids],
            "category": [f"c{number}" for number in rng.integers(0, 4, num_items)],
            "subcategory": [
                [f"s{each}" for each in rng.integers(0, 6, int(rng.integers(0, 3)))] for _ in ids
            ],
        },
        schema_overrides={"subcategory": pl.List(pl.String)},
    )
    with StoreWriter(path, {"processor": "tests", "seed": seed}, [TokenizerChoice("words")]) as writer:
        writer.items(items, COLUMNS)
        for split, count in (("train", num_train), ("dev", 24), ("test", 24)):
            frame = impressions(rng, ids, count, num_candidates)
            if split == "train" and not clicked:
                frame = frame.with_columns(labels=pl.col("labels").list.eval(pl.element() * 0))
            writer.impressions(split, frame if labelled or split != "test" else frame.drop("labels"))
    return path


def impressions(
    rng: np.random.Generator, ids: list[str], count: int, num_candidates: int | None = None
) -> pl.DataFrame:
    """Impressions of twenty users, as the writer takes them."""
    sizes = rng.integers(2, 7, count) if num_candidates is None else np.full(count, num_candidates)
    return pl.DataFrame(
        {
            "user": [f"u{number}" for number in rng.integers(0, 20, count)],
            "history": [list(rng.choice(ids, int(rng.integers(0, 7)))) for _ in range(count)],
            "candidates": [list(rng.choice(ids, size, replace=False)) for size in sizes],
            "labels": [[1] + [0] * (size - 1) for size in sizes],
        },
        schema_overrides={"history": pl.List(pl.String)},
    )


def arguments(
    store: Path, runs: Path, /, model: str = "lego_nrms", exp: str = "tt-nrms", **flags: Any
) -> list[str]:
    """The command line of a small run; ``data__name`` stands for the dotted ``--data.name``."""
    layers = {"data": "data/synthetic", "model": f"model/{model}", "exp": f"exp/{exp}"}
    found = [part for name, file in layers.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    small = {key: value for key, value in small_flags(exp).items() if key != "heads" or reads_heads(model)}
    given: dict[str, Any] = {"data__store": store, "runs": runs, "device": "cpu", **small, **flags}
    for key, value in given.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('__', '.')}", text]
    return found


def small_flags(exp: str) -> dict[str, int]:
    """``SMALL``, without `epoch` where a run is loaded: there it names one of those that the run keeps."""
    return {
        key: value for key, value in SMALL.items() if key != "epoch" or "load_epoch" not in layers_of(exp)
    }


def layers_of(exp: str) -> str:
    """The text of an ``exp`` file and of what it imports."""
    text = (ROOT / "config/exp" / f"{exp}.yaml").read_text()
    imported = [line.split(": ")[1] for line in text.splitlines() if line.startswith("$$import: parts/")]
    return text + "".join((ROOT / "config/exp" / each).read_text() for each in imported)


def reads_heads(model: str) -> bool:
    """Whether ``--heads`` does anything to a named model."""
    return not any(name in model for name in ("naml", "lstur", "din", "gru", "narm", "caser"))


def start(argv: list[str], threads: int = 1, code: str = "", **env: str) -> subprocess.Popen[str]:
    """The worker in a process of its own; ``code`` is run before it, with ``argv`` in reach."""
    program = f"import sys\nargv = sys.argv[1:]\n{code}\nimport worker\nsys.exit(worker.main(argv))\n"
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(argv: list[str]) -> Path:
    """Run the worker in this process to its end; the folder of the run."""
    assert worker.main(argv) == 0
    return only_run(Path(argv[argv.index("--runs") + 1]))


def only_run(runs: Path) -> Path:
    """The one run folder below ``runs``."""
    (folder,) = run_folders(runs)
    return folder


def run_folders(runs: Path) -> list[Path]:
    """Every run folder below ``runs``, finished or not."""
    return sorted(path.parent for path in runs.rglob("settings.yaml"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(argv: list[str], capsys: pytest.CaptureFixture[str], *texts: str) -> None:
    """The worker ends with status 2 and one message that says these things."""
    capsys.readouterr()
    assert worker.main(argv) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert sum(line.startswith("error: ") or "in the settings" in line for line in err.splitlines()) == 1
    for text in texts:
        assert text in err, err


def last_state(run: Path) -> checkpoint.Checkpoint:
    """The newest checkpoint of a run, read in full."""
    return checkpoint.load(checkpoint.complete(run / "checkpoints")[-1])


def differences(one: Path, other: Path) -> list[str]:
    """What is not bit for bit the same in two finished runs: metrics, epochs, states, every tensor."""
    found = [
        name
        for name in ("metrics.json", "epochs.csv")
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    mine, theirs = (
        {path.name: checkpoint.load(path) for path in checkpoint.complete(run / "checkpoints")}
        for run in (one, other)
    )
    found += sorted(set(mine) ^ set(theirs))
    for name in sorted(set(mine) & set(theirs)):
        found += [f"{name}: state"] * (mine[name].state != theirs[name].state)
        found += [f"{name}: {each}" for each in _unequal(mine[name].tensors, theirs[name].tensors)]
    return found


def _unequal(
    mine: Mapping[str, Mapping[str, torch.Tensor]], theirs: Mapping[str, Mapping[str, torch.Tensor]]
) -> list[str]:
    flat, other = (
        {f"{group}/{name}": value for group, tensors in groups.items() for name, value in tensors.items()}
        for groups in (mine, theirs)
    )
    same = [name for name in flat if name in other and torch.equal(flat[name], other[name])]
    return sorted((set(flat) | set(other)) - set(same))
