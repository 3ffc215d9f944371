"""The folder of one run: settings, log, epochs, metrics, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from legorec.engine import checkpoint
from legorec.files.lock import hold
from legorec.files.whole import save_whole


class RunFolder:
    """Files of one run. A finished folder is not written again unless ``overwrite`` says so.

    Args:
        path: where the run lives; its name holds the digest of its settings.
        resume: go on from the last checkpoint.
        overwrite: remove what is there and start anew.
        writes: False for a process that leaves it to the first of its run to make, check and fill the folder.

    Raises:
        ValueError: the folder is finished, or unfinished and neither ``resume`` nor ``overwrite`` was asked
            for, or another process is writing into it, or it cannot be written.
    """

    def __init__(
        self, path: Path, *, resume: bool = False, overwrite: bool = False, writes: bool = True
    ) -> None:
        if resume and overwrite:
            raise ValueError(
                "`resume` and `overwrite` exclude each other: one goes on, the other starts anew"
            )
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.writes = writes
        self._lock_handle: TextIO | None = None
        if not writes:
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock_handle = open(path / ".lock", "w")
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written: {error.strerror}; name another folder with --runs"
            ) from None
        try:
            alone = hold(self._lock_handle)
            if alone is False:
                raise ValueError(f"another process is running in {path}; wait for it or stop it")
            if overwrite:
                self._clear()
            else:
                self._refuse_used(resume)
                if alone:
                    self._remove(path.glob("*.tmp-*"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_used(self, resume: bool) -> None:
        if self.metrics_file.exists():
            raise ValueError(
                f"{self.path} is finished (see {self.metrics_file.name} there); use --overwrite true to run "
                "it again, or another --seed"
            )
        if checkpoint.complete(self.checkpoints) and not resume:
            raise ValueError(
                f"{self.path} was stopped before its end; use --resume true to go on, or --overwrite true to "
                "start anew"
            )

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.json"

    @property
    def log_file(self) -> Path:
        return self.path / "run.log"

    def _clear(self) -> None:
        self._remove(part for part in self.path.iterdir() if part.name != ".lock")

    @staticmethod
    def _remove(parts: Iterable[Path]) -> None:
        for part in parts:
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink()

    def close(self) -> None:
        """Release the folder."""
        if self._lock_handle is not None:
            self._lock_handle.close()

    def write_settings(self, text: str) -> None:
        """The resolved settings as YAML, from which the run can be started again."""
        self._write("settings.yaml", text)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """``metrics.json``; its presence says that the run is finished."""
        self._write(self.metrics_file.name, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")

    def write_epochs(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """``epochs.csv``, the table of epochs, written whole each time."""
        self.write_table("epochs.csv", columns, rows)

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A table as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write(name, text.getvalue())

    def _write(self, name: str, text: str) -> None:
        """Replace a file in one step: a reader sees the old or the new one."""
        if self.writes:
            save_whole(self.path / name, text.encode())


def kept_epochs(run: Path) -> tuple[int, dict[int, Path]]:
    """The best epoch of a run, and the checkpoints of all epochs that it keeps, in order.

    Raises:
        ValueError: the folder is no run or has no complete checkpoint of a finished epoch.
    """
    last = checkpoint.newest(run / "checkpoints")
    if last is None:
        raise ValueError(f"{run} holds no complete checkpoint; name the folder of a trained run")
    state = checkpoint.read_state(last)
    best, progress = state.get("best"), state["progress"]
    if best is None:
        raise ValueError(f"{run} was stopped before its first epoch was measured; resume it first")
    found = {each["epoch"]: str(each["checkpoint"]) for each in (*state.get("kept", ()), best)}
    if progress["epoch_done"] and len(state["epochs"]) == progress["epoch"] + 1:
        found[progress["epoch"]] = last.name
    folder = run / "checkpoints"
    return best["epoch"], {epoch: checkpoint.named(folder, name) for epoch, name in sorted(found.items())}


def best_checkpoint(run: Path, epoch: int | None = None) -> Path:
    """The checkpoint of the best epoch, or of one that is named.

    Raises:
        ValueError: as ``kept_epochs``, or the epoch is not kept.
    """
    best, kept = kept_epochs(run)
    if epoch is not None and epoch not in kept:
        there = ", ".join(f"{each} (the best)" if each == best else str(each) for each in kept)
        raise ValueError(
            f"{run} keeps no checkpoint of epoch {epoch} (--epoch); it keeps {there}. Training with "
            "--keep_epochs N keeps those of the N best"
        )
    return kept[best if epoch is None else epoch]
