"""Every named model of ``config/model`` on one tiny store, ready to be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import worker
from benchmarks.named_models import data_of, family, names
from legorec.settings import Settings, read_command_line
from process.embed import main as embed
from tests.support.language_runs import write_language_model, write_language_store
from tests.support.runs import ROOT, SMALL, WORDS, write_store

EVERY = names("all", "*")
LAYERS = {"data": "data/synthetic", "exp": "exp/tt-nrms"}
CODES = {"levels": 2, "size": 8}


class NamedModels:
    """A store with the texts of two tiny language models, their caches, and codes of the items.

    Args:
        folder: to write all of it into; each part is made when a model first needs it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Path] = {}

    def settings(self, name: str, **flags: Any) -> Settings:
        """The settings of a named model, small; ``data__name`` stands for ``--data.name``."""
        return read_command_line(self.command(name, **flags))

    def command(self, name: str, **flags: Any) -> list[str]:
        """The worker's command line."""
        layers = dict(LAYERS)
        given = {key: value for key, value in SMALL.items() if key != "heads"}  # few models read it
        if family(name) == "words":
            layers |= {"embed": str(self._codes())} if name.startswith("semantic") else {}
            reads_table = any(part in name for part in ("vectors", "cela-fused", "gru-bert"))
            layers |= {"embed": str(self._vectors())} if reads_table else {}
            if "gru-bert" in name:  # it has vectors alone
                del given["embed_hidden_size"]
        else:
            language_model = "llama" if family(name) == "llama" else "bert"
            layers |= {"data": f"data/mind-{data_of(name)}", "exp": "exp/tt-llm"}
            given |= {"llm_ver": "tiny", "lm_path": self._language_model(language_model)}
            if not name.startswith("joined"):  # which has words too
                del given["embed_hidden_size"]
            given |= {"cache": self._cache(name, language_model)} if family(name) != "plmnr" else {}
            given |= {"layer": -2} if "iisan" not in name else {}
        store = self._store() if family(name) == "words" else self._store_of_texts()
        given |= {"data__store": store, "runs": self.folder / "runs", "device": "cpu"}
        return command_line({"model": f"model/{name}", **layers}, given | flags)

    def _store(self) -> Path:
        if "store" not in self._made:
            self._made["store"] = write_store(self.folder / "store")
        return self._made["store"]

    def _store_of_texts(self) -> Path:
        if "texts" not in self._made:
            models = {name: self._language_model(name) for name in ("llama", "bert")}
            self._made["texts"] = write_language_store(self.folder / "texts", **models)
        return self._made["texts"]

    def _language_model(self, name: str) -> Path:
        if name not in self._made:
            self._made[name] = write_language_model(self.folder / name, name).folder
        return self._made[name]

    def _codes(self) -> Path:
        """The layer ``embed`` of the codes."""
        if "codes" not in self._made:
            vectors = self.folder / "vectors.npy"
            np.save(vectors, np.random.default_rng(0).normal(size=(60, len(WORDS))))
            given = {"vectors": vectors, "store": self._store(), "name": "codes", "out": self.folder}
            embed(["codes", "--unique", *as_flags(given | CODES | {"config": self.folder})])
            self._made["codes"] = self.folder / "codes"  # .yaml
        return self._made["codes"]

    def _vectors(self) -> Path:
        """The layer ``embed`` of a table with a row per item."""
        layer = self.folder / "items"
        if "items" not in self._made:
            vectors = np.random.default_rng(1).normal(size=(60, 8))
            np.save(self.folder / "items.npy", vectors.astype(np.float32))
            table = f"{{vocabulary: items, path: {self.folder / 'items.npy'}}}"
            layer.with_suffix(".yaml").write_text(f"name: items\ntables:\n- {table}\n")
            self._made["items"] = layer
        return layer

    def _cache(self, name: str, language_model: str) -> Path:
        """The root of a language model's caches, with that which the named model reads."""
        kind = "layers" if "iisan" in name else "states"
        root = self.folder / f"{language_model}-split"
        if f"{language_model} {kind}" not in self._made:
            layers = {"data": f"data/mind-{language_model}", "exp": f"exp/{language_model}-split"}
            given = {"llm_ver": "tiny", "lm_path": self._language_model(language_model), "cache": root}
            given |= {"data__store": self._store_of_texts(), "runs": self.folder / "runs", "device": "cpu"}
            given |= {"exp__cache__layers": "[-2]"} if kind == "states" else {}
            assert worker.main(command_line({"model": f"model/{name}", **layers}, given)) == 0
            self._made[f"{language_model} {kind}"] = root
        return root


def command_line(layers: dict[str, str], given: dict[str, Any]) -> list[str]:
    """The config files of ``config/``, or absolute paths, and flags."""
    return as_flags({layer: ROOT / "config" / f"{file}.yaml" for layer, file in layers.items()} | given)


def as_flags(given: dict[str, Any]) -> list[str]:
    found = []
    for key, value in given.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('__', '.')}", text]
    return found
