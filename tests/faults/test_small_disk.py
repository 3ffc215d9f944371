"""What is written on real file systems with too little room, less and less of it, and gone on with (R3).

``test_full_disk`` does the same where none can be mounted.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

import worker
from legorec.data.raw.command import run
from legorec.data.store import Store
from legorec.engine import checkpoint
from process import synthetic
from tests.support.disks import left_overs, small_disk, with_small_disks
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import arguments, contents, differences, only_run, write_store

PAGE = 4096
PLENTY = 64 << 20
JOBS = ("training", "predicting", "processing", "caching")


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_r3_on_a_small_disk(tmp_path: Path, job: str) -> None:
    with_small_disks("tests.faults.test_small_disk", job, tmp_path)


def ended(argv: list[str]) -> tuple[int, str]:
    """Status and messages of the worker."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = worker.main(argv)
    return status, said.getvalue()


def finished(argv: list[str]) -> None:
    status, said = ended(argv)
    assert status == 0, said


def room(*folders: Path) -> int:
    """What the files of some folders take, in whole pages."""
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in found)


def less_and_less(most: int, steps: int) -> Iterator[int]:
    """Sizes of disks from one page to what would do."""
    yield from sorted({max(1, most * step // steps // PAGE) * PAGE for step in range(steps)})


def full_disk_told(said: str) -> str:
    """The file that the one line about a full disk names."""
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert "Traceback" not in said and ": could not be written, it needs " in line
    assert "bytes were free (No space left on device)" in line
    return line.removeprefix("error: ").partition(": could not")[0]


def training(folder: Path) -> None:
    """Epochs, checkpoints and metrics on a disk that is too small, and the rest on a larger one."""
    torch.set_num_threads(1)
    store, disk = write_store(folder / "store"), folder / "disk"
    flags = {"save_every": 3, "save_ranking": True}
    finished(arguments(store, folder / "runs", **flags))
    straight, named = only_run(folder / "runs"), set()
    for size in less_and_less(2 * room(straight), 14):
        with small_disk(disk, size) as resize:
            argv = arguments(store, disk, **flags)
            status, said = ended(argv)
            if status == 0:
                continue
            assert status == 2
            name = Path(full_disk_told(said)).name
            named.add(name.partition("-")[0])
            assert not left_overs(disk)
            for path in disk.rglob("checkpoints/*"):
                checkpoint.load(path)
            resize(PLENTY)
            finished([*argv, "--resume", "true"])
            assert differences(straight, only_run(disk)) == []
    assert "batch" in named and len(named) > 1, named


def predicting(folder: Path) -> None:
    """Predictions and exports all there or none, beside those of an earlier run that was cut short."""
    store, disk = write_store(folder / "store"), folder / "disk"
    finished(arguments(store, folder / "runs"))
    done = only_run(folder / "runs")
    for exp, flags in (("predict", {}), ("predict", {"format": "csv"}), ("submit-mind", {}), ("export", {})):
        whole = folder / f"{exp}{len(flags)}"
        finished(arguments(store, whole, exp=exp, load=done, **flags))
        results = {name: data for name, data in contents(only_run(whole)).items() if name[0] in "piu"}
        assert results
        named = set()
        for size in less_and_less(room(whole) + PAGE, 6):
            with small_disk(disk, size) as resize:
                argv = arguments(store, disk, exp=exp, load=done, **flags)
                status, said = ended(argv)
                if status == 0:
                    continue
                there = {path.name: path.read_bytes() for path in disk.rglob("*") if path.name in results}
                assert not left_overs(disk) and there in ({}, results)
                named.add(name := Path(full_disk_told(said)).name)
                assert not there or name in ("metrics.json", "run.log")  # which come behind
                resize(PLENTY)
                finished(argv)
                assert results.items() <= contents(only_run(disk)).items()
        assert named & results.keys()


def processing(folder: Path) -> None:
    """A store that takes the place of another, or does not."""
    disk, named = folder / "disk", set()

    def made(out: Path, impressions: int) -> tuple[int, str]:
        counts = ["--items", "300", "--users", "200", "--impressions", str(impressions)]
        said = io.StringIO()
        with redirect_stderr(said), redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as stopped:
            run(synthetic.main, [*counts, "--out", str(out), "--overwrite"])
        return int(str(stopped.value.code)), said.getvalue()

    for name, count in (("old", 200), ("new", 2000)):
        assert made(folder / name, count)[0] == 0
    before = contents(folder / "old")
    for size in less_and_less(2 * room(folder / "new"), 12):
        with small_disk(disk, room(folder / "old") + size) as resize:
            shutil.copytree(folder / "old", disk / "store")
            status, said = made(disk / "store", 2000)
            if status == 0:
                continue
            assert status == 2
            named.add(Path(full_disk_told(said)).name)
            assert contents(disk) == {f"store/{name}": data for name, data in before.items()}
            resize(PLENTY)
            assert made(disk / "store", 2000)[0] == 0
            assert Store.open(disk / "store").digest == Store.open(folder / "new").digest
    assert len(named) > 2, named


def caching(folder: Path) -> None:
    """Hidden states, then training on them with an adapter: the same as where there was room."""
    torch.set_num_threads(1)
    disk, model = folder / "disk", write_language_model(folder / "llama", "llama").folder
    store = write_language_store(folder / "store", llama=model)

    def commands(place: Path) -> tuple[list[str], list[str]]:
        base = (store, model, place / "cache", place / "runs")
        split = {"layer": 0, "lora": 0, "fast_eval": 0, "embed_hidden_size": 32}
        split |= {"exp__cache__layers": "[-1]", "shard_mb": 1}
        tune = {"layer": 2, "embed_hidden_size": 32, "lr": 0.001, "batch_size": 32}
        return (
            language_arguments(*base, "llama-naml", "llama-split", **split),
            language_arguments(*base, "llama-naml", "tt-llm", **tune),
        )

    for argv in commands(folder):
        finished(argv)
    straight, named = only_run(folder / "runs"), set()
    for size in less_and_less(room(folder / "cache") + 2 * room(straight), 10):
        with small_disk(disk, size) as resize:
            for number, argv in enumerate(commands(disk)):
                status, said = ended(argv)
                if status == 0:
                    continue
                assert status == 2 and not left_overs(disk)
                if number or "the cache needs" not in said:
                    named.add(Path(full_disk_told(said)).name)
                resize(PLENTY)
                finished([*argv, *(["--resume", "true"] * number)])
            assert differences(straight, only_run(disk / "runs")) == []
            assert contents(disk / "cache").keys() == contents(folder / "cache").keys()
            for part in ("adapter", "adapter/with-head"):
                one, other = (only_run(place / "runs") / part for place in (folder, disk))
                assert contents(one) == contents(other)
    assert named
