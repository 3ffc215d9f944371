"""A trained model as a folder that can be carried away: weights, items, settings and a card, and no users.

config.json              what it is, and size and digest of the other files; written last
settings.yaml            as a run has it; its paths begin in this folder
model.safetensors        the weights that were learned
store/                   a store of the items alone: ids, fields, vocabularies, tokenizers
tables/*.safetensors     given vectors and codes, where the model reads some
added.safetensors        ids, vectors and categories of items that were added to the recommender, if any were
popularity.safetensors   how many users clicked each item in training: counts, of nobody's history
items.safetensors        the vectors of all items, where a language model made them, which is not there
README.md                the model card, which may be edited
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor, nn

from legorec.compose import to_yaml
from legorec.compose.saved import FOLDER, FROM_HERE, KEY
from legorec.data.layout import save_arrays
from legorec.data.store import Store
from legorec.data.vectors import Rows, save_table
from legorec.data.writing.items_alone import write_items_alone
from legorec.engine.optim import learned_state
from legorec.engine.run_folder import kept_epochs
from legorec.engine.weights import LANGUAGE_MODEL
from legorec.files.disk import flush, save_bytes, share
from legorec.files.manifest import Refusal, fact_of, save_json, seal
from legorec.files.whole import folder_whole
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.added_items import ADDED, AddedItems, save_added
from legorec.recipes.outputs.bundle_settings import STORE, TABLES, BundleError, copy_table, travelling
from legorec.recipes.outputs.model_card import model_card
from legorec.recipes.outputs.session import sealed

if TYPE_CHECKING:
    from legorec.settings import Settings

FORMAT, VERSION = "legorec-model", 1
CONFIG, SETTINGS, WEIGHTS, CARD = "config.json", "settings.yaml", "model.safetensors", "README.md"
VECTORS, COUNTS = "items.safetensors", "popularity.safetensors"
COMPARED = ("tokenizers/", "vocabularies/", "numbers/", LANGUAGE_MODEL)  # inputs that a bundle has too


REFUSAL = Refusal("a saved model", BundleError, "save the model again, or fetch it again")


@dataclass(frozen=True)
class Origin:
    """Where a loaded model comes from.

    Args:
        settings: of its run.
        inputs: digests of all that it reads.
        epoch: whose weights it has.
        metrics: by split, and of baselines, as far as they are known.
        way_to_base: of a saved model that was loaded without its base: how to load it with that.
    """

    settings: Settings
    inputs: Mapping[str, str]
    epoch: int | None
    metrics: Mapping[str, Any]
    way_to_base: str | None = None

    @classmethod
    def of_run(cls, run: Path, loaded: Path, settings: Settings, inputs: Mapping[str, str]) -> Origin:
        """The origin of a model that was loaded from a run.

        Args:
            loaded: the checkpoint whose weights it has. The run's metrics are those of the best one.
        """
        best, kept = kept_epochs(loaded.parents[1])
        epoch = next((each for each, path in kept.items() if path.name == loaded.name), None)
        file = run / "metrics.json"
        measured = json.loads(file.read_text()) if file.is_file() and epoch == best else {}
        splits = {split: measured[split]["metrics"] for split in ("dev", "test") if split in measured}
        others = {name: each["metrics"] for name, each in measured.get("baselines", {}).items()}
        return cls(settings, inputs, epoch, splits | ({"baselines": others} if others else {}))


class Saves:
    """What can be saved, once ``legorec.load`` has said where it comes from."""

    model: nn.Module
    data: Data
    origin: Origin | None = None

    @property
    def added(self) -> AddedItems | None:
        """Items that are not in the store, if there are any."""
        return None

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write the model into a folder that ``legorec.load`` reads anywhere, without store or run.

        It holds the items, and no users, histories or paths.

        Args:
            overwrite: replace a model that is there.
        Raises:
            ValueError: the model reads who users are, it was not made by ``legorec.load``, or something is
                in the folder.
            WriteError: the disk is full, or may not be written.
        """
        if self.origin is None:
            raise BundleError("only what `legorec.load` gave can be saved: it knows the settings of its run")
        if self.origin.way_to_base is not None:
            raise BundleError("this model was loaded without its base; copy its folder, or load it with that")
        return save_bundle(
            self.model,
            self.data,
            self.origin,
            Path(folder),
            overwrite,
            self.vectors_to_keep(),
            self.added,
        )

    def vectors_to_keep(self) -> Tensor | None:
        """(num_items, D), where they could not be computed without a language model that stays behind."""
        return None


def save_bundle(
    model: nn.Module,
    data: Data,
    origin: Origin,
    folder: Path,
    overwrite: bool = False,
    vectors_ND: Tensor | None = None,
    added: AddedItems | None = None,
) -> Path:
    """Write a model's folder, whole or not at all; see ``Saves.save``."""
    _check_place(folder, overwrite)
    _check_users(origin.inputs)
    _check_generated(data, model, origin.inputs)
    settings, said = origin.settings, travelling(origin.settings, data, origin.inputs.get(LANGUAGE_MODEL))
    weights = learned_state(model)
    size = sum(each.nbytes for each in weights.values())
    with folder_whole(folder, size, "about ") as partial:
        write_items_alone(data.store, partial / STORE, [*origin.inputs, *_tokenizers(data)])
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in weights.items()},
            partial / WEIGHTS,
            metadata={"format": "pt"},
        )
        share(partial / WEIGHTS)
        flush(partial / WEIGHTS)
        for name, path in said.tables.items():
            copy_table(path, partial / name)
        if data.popularity is not None:
            save_arrays(partial / COUNTS, {"clicks": data.popularity[: data.num_real].astype(np.int64)})
        if vectors_ND is not None:
            alone = Store.open(partial / STORE)
            save_table(partial / VECTORS, vectors_ND[: data.num_real].cpu(), Rows.of_items(alone), {})
        if added is not None:
            save_added(partial / ADDED, added)
        here = {KEY: {FOLDER: ".", FROM_HERE: "."}}
        save_bytes(partial / SETTINGS, sealed(to_yaml({**said.tree, **here})).encode())
        config = {
            "format": FORMAT,
            "version": VERSION,
            "legorec": version("legorec"),
            "family": settings.model.family,
            "model": settings.model.name,
            "data": settings.data.name,
            "items": data.num_real + (0 if added is None else len(added)),
            "epoch": origin.epoch,
            "metrics": origin.metrics,
            "base": said.base,
            "inputs": {name: value for name, value in origin.inputs.items() if name.startswith(COMPARED)},
        }
        save_bytes(partial / CARD, model_card(config, data).encode())
        files = {name: fact_of(partial / name) for name in _named(partial)}
        save_json(partial / CONFIG, seal({**config, "files": files}))
        flush(partial)
    return folder


def _check_users(inputs: Iterable[str]) -> None:
    """Raises BundleError: the model reads who its users are."""
    users = [name for name in inputs if name.startswith(("users/", "numbers/users/"))]
    if users:
        raise BundleError(
            f"this model reads who its users are ({users[0]}), and a saved model holds no users; train one "
            "without a `user_plugin` that does, and without `data.user_fields`, to carry it away"
        )


def _check_generated(data: Data, model: nn.Module, inputs: Iterable[str]) -> None:
    """Raises BundleError: the model has rows for items that were generated for single users."""
    if data.num_real == data.num_items:
        return
    by_row = any(len(each) == data.num_items for each in learned_state(model).values() if each.dim())
    if by_row or any(name.startswith(("numbers/", "embed/")) for name in inputs):
        raise BundleError(
            f"this model has a row for each of {data.num_items - data.num_real:,} items that were generated "
            "for single users and are called after them; a saved model holds no users. Save one of content"
        )


def _tokenizers(data: Data) -> list[str]:
    """The tokenizers that templates are read by, also where they name no text."""
    texts = [each.text for each in data.catalogs if each.text is not None]
    return [f"tokenizers/{each.tokenizer_name}/tokenizer.json" for each in texts]


def _check_place(folder: Path, overwrite: bool) -> None:
    """Refuse to take the place of something that must stay."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_bundle(folder):
        raise BundleError(f"{folder}: it exists and is no saved model; name another folder")
    if not overwrite:
        raise BundleError(f"{folder}: it exists; name another folder, or replace it with --overwrite")


def is_bundle(folder: Path) -> bool:
    """Whether a folder is that of a saved model, whole or not; a run's has its settings and no config."""
    return (folder / CONFIG).is_file() and not (folder / "checkpoints").is_dir()


def _named(folder: Path) -> list[str]:
    """The files that a config says the digest of: all but the card, and those that the store's manifest
    names."""
    found = [path for path in folder.iterdir() if path.is_file() and path.name != CARD]
    tables = folder / TABLES
    found += tables.iterdir() if tables.is_dir() else []
    names = [path.relative_to(folder).as_posix() for path in found]
    return sorted([*names, f"{STORE}/manifest.json"])
