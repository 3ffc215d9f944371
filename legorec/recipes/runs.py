"""Runs from Python: a store and the name of a model in, metrics and a recommender out."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from legorec.compose import WORKER_FLAGS
from legorec.compose.documents import read_document
from legorec.data.layer import layer_of
from legorec.data.store import Store
from legorec.data.vectors import ITEMS, NewTable, Rows
from legorec.engine.run_folder import kept_epochs
from legorec.files.digest import digest_bytes
from legorec.recipes.load import load
from legorec.recipes.outputs.session import settings_file
from legorec.recipes.run import run
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.settings import Settings, read_command_line
from legorec.settings.brick_places import PARTS
from legorec.settings.in_python import settings_of
from legorec.settings.modes import MODES
from legorec.settings.resolved import run_path
from legorec.shipped import layer_file

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Layer = str | Path | Mapping[str, Any]
BY_CONTENT, BY_ROW = "lego_nrms", "lego_nrms_id"  # models where none is named


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: its folder.
        metrics: what ``metrics.json`` holds: the measured split, baselines, the number of parameters.
        seconds: that the call which made it took; None where it was there already.
    """

    path: Path
    settings: Settings
    metrics: Mapping[str, Any]
    seconds: float | None = None

    @classmethod
    def open(cls, path: str | Path, seconds: float | None = None) -> Run:
        """The run in a folder.

        Raises:
            ValueError: it is none, or is not finished.
        """
        folder = Path(path)
        settings = read_command_line(["--settings", str(settings_file(folder))])
        if not (folder / "metrics.json").is_file():
            raise ValueError(f"{folder} is not finished; the same call of `train` goes on with it")
        return cls(folder, settings, json.loads((folder / "metrics.json").read_text()), seconds)

    @property
    def test(self) -> dict[str, float] | None:
        """The metrics on test; None of a run that did not measure it."""
        return self._measured("test")

    @property
    def dev(self) -> dict[str, float] | None:
        """The metrics on dev, of the best epoch where the run trained; None if it did not measure it."""
        if (found := self._measured("dev")) is not None or not self.curve:
            return found
        best = next(row for row in self.curve if row["epoch"] == self.best_epoch)
        return {name: best[name] for name in self.settings.exp.metrics if name in best}

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The metrics of untrained baselines, by their name."""
        return {name: dict(each["metrics"]) for name, each in self.metrics.get("baselines", {}).items()}

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """Loss and dev metrics of each epoch; empty of a run that did not train."""
        file = self.path / "epochs.csv"
        if not file.is_file():
            return []
        with file.open(newline="") as lines:
            rows = [
                {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)
            ]
        return [row | {"epoch": int(row["epoch"])} for row in rows]

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights the run keeps, from 0; None of a run that did not train."""
        return kept_epochs(self.path)[0] if self.curve else None

    @cached_property
    def recommender(self) -> TrainedRecommender:
        """The trained model of the best epoch, ready to score and recommend."""
        return load(self.path)

    def _measured(self, split: str) -> dict[str, float] | None:
        return dict(self.metrics[split]["metrics"]) if split in self.metrics else None


def train(
    store: Store | str | Path,
    model: Layer | None = None,
    *,
    data: Layer | None = None,
    embed: Layer | None = None,
    exp: Layer = "train",
    fields: Iterable[str] | None = None,
    vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
    init_from: Run | str | Path | None = None,
    runs: str | Path = "runs",
    **flags: Any,
) -> Run:
    """Train a model on a store and measure its best epoch: on test where the store has it, else on dev.

    The same arguments find the same run: one that is finished is opened, and one that was stopped goes on.
    With ``overwrite=True`` it is made anew.

    Args:
        model: a name such as ``lego_naml``, a file, or a tree as YAML has it; ``lego_nrms`` by default.
        data: the layer, where the fields are to be read in another way than all of them in full.
        exp: the layer that trains.
        fields: those of the items that are read; all by default.
        vectors: an item's vector of a model of one's own, by its id, or as rows in the store's order. They
            take the place of the items' fields.
        init_from: a run whose weights training begins with, on the same or another store. Rows of items,
            users, words and categories are matched by their ids; those that it does not know start fresh.
            Its model, and how it reads the data, are taken where none are named.
        flags: as on the command line: ``epoch=3``, ``lr=1e-3``, ``seed=7``, ``exp__metrics=["mrr"]``.

    Raises:
        ValueError: something the user can mend.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    begun = Run.open(init_from) if isinstance(init_from, str | Path) else init_from
    if begun is not None:
        flags["exp.init_from"] = begun.path
        model = begun.settings.dump()["model"] if model is None else model
        if data is None and fields is None:
            data = {**begun.settings.dump()["data"], "name": store.path.name}
    layers: dict[str, Layer] = {
        "data": layer_of(store, fields) if data is None else data,
        "model": model or (BY_CONTENT if vectors is None else BY_ROW),
        "exp": exp,
    }
    given = {"runs": runs, "data.store": store.path, **{key.replace("__", "."): flags[key] for key in flags}}
    if exp == "train" and "test" in store.splits:
        given.setdefault("exp.mode", "train_test")
    if vectors is not None:
        embed = write_vectors(store, vectors, Path(runs) / "vectors")
        if not has_parts(layers["model"]):
            given.setdefault("model.source.name", "vectors")
    if embed is not None:
        layers["embed"] = embed
    return done(settings_of(layers, given))


def evaluate(
    trained: Run | str | Path, split: str = "test", *, store: Store | str | Path | None = None, **flags: Any
) -> Run:
    """Measure a trained run on a split, or on that of another store with the same vocabularies.

    Args:
        flags: of the worker, such as ``device``, ``runs`` or ``overwrite``.
    Raises:
        ValueError: there is no such split, or the store does not go with the run.
    """
    if unknown := [name for name in flags if name not in WORKER_FLAGS]:
        raise ValueError(f"`{unknown[0]}` is no flag of the worker; those are {', '.join(WORKER_FLAGS)}")
    trained = trained if isinstance(trained, Run) else Run.open(trained)
    measuring = {each.measures[-1]: each.name for each in MODES.values() if each.measures and not each.learns}
    if split not in measuring:
        raise ValueError(f"`split` must be one of {', '.join(measuring)}, got {split!r}")
    settings = read_command_line(["--settings", str(settings_file(trained.path))])
    exp = settings.exp.model_copy(
        update={
            "mode": measuring[split],
            "load": str(trained.path),
            "init_from": None,
            "name": f"{split}-{settings.exp.name}",
        }
    )
    place = store.path if isinstance(store, Store) else store
    data = settings.data if place is None else settings.data.model_copy(update={"store": str(place)})
    runs = flags.pop("runs", trained.path.parents[2] if len(trained.path.parents) > 2 else "runs")
    return done(replace(settings, exp=exp, data=data, runs=str(runs), **flags))


def done(settings: Settings) -> Run:
    """The run of these settings, which is made if it is not there, and goes on if it was stopped."""
    folder = run_path(settings)
    if (folder / "metrics.json").is_file() and not settings.overwrite:
        return Run.open(folder)
    began = time.monotonic()
    run(replace(settings, resume=not settings.overwrite))
    return Run.open(folder, time.monotonic() - began)


def write_vectors(store: Store, vectors: ArrayLike | Mapping[str, ArrayLike], folder: Path) -> str:
    """Put the vectors of the items into a file, called after what it holds; the file of its layer.

    Raises:
        ValueError: an item has none, they differ in length, or one is not finite.
    """
    import torch

    ids = list(store.items.ids)
    rows: Sequence[Any] | Any
    if isinstance(vectors, Mapping):
        by_id = {str(key): value for key, value in vectors.items()}
        if missing := [each for each in ids if each not in by_id]:
            raise ValueError(f"`vectors` lacks {len(missing):,} of {len(ids):,} items, first {missing[0]!r}")
        rows = [by_id[each] for each in ids]
    else:
        rows = vectors
    matrix = np.ascontiguousarray(np.asarray(rows, dtype=np.float32))
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise ValueError(f"`vectors` must be a row for each of {len(ids):,} items, got {matrix.shape}")
    digest = digest_bytes(matrix.tobytes() + Rows.of_items(store).digest.encode())
    name = f"{store.path.name}-{digest[:12]}"
    if not (folder / f"{name}.safetensors").is_file():
        table = NewTable(name, ITEMS, folder, folder, "Vectors that were given in Python.")
        table.write(torch.from_numpy(matrix), Rows.of_items(store))
    return str(folder / f"{name}.yaml")


def has_parts(model: Layer) -> bool:
    """Whether the items of a model layer have several sources."""
    tree = model if isinstance(model, Mapping) else read_document(layer_file("model", str(model)), []).tree
    return bool(tree.get(PARTS))
