"""A saved model's folder: found here or on the hub, checked, and its weights put into a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import Tensor, nn

from legorec.data.vectors import ITEMS
from legorec.engine.checkpoint import Checkpoint
from legorec.engine.weights import check_inputs, load_weights
from legorec.files.digest import digest_files
from legorec.files.manifest import check_digests, check_sizes, leads_out, read_sealed
from legorec.recipes.inputs.devices import usable_device
from legorec.recipes.inputs.given_vectors import read_matrix
from legorec.recipes.inputs.served import served
from legorec.recipes.outputs.added_items import ADDED, read_added
from legorec.recipes.outputs.bundle import (
    COMPARED,
    CONFIG,
    COUNTS,
    FORMAT,
    REFUSAL,
    SETTINGS,
    VECTORS,
    VERSION,
    WEIGHTS,
    Origin,
)
from legorec.recipes.outputs.bundle_settings import STORE, BundleError
from legorec.settings.schema import BrickSettings, TokenTableSettings

if TYPE_CHECKING:
    from legorec.settings import Settings

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
ITEM_SIDE = ("source.", "item_encoder.")  # what the names of weights begin with that make item vectors
WANTED = ["*.json", "*.safetensors", SETTINGS, "README.md"]  # nothing pickled


def find_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a run or a saved model; one that is not there and could be a name on the hub is fetched.

    Raises:
        BundleError: it is nowhere, could not be a name on the hub, or a revision of a folder is asked for.
    """
    folder = Path(name)
    if not folder.exists() and not folder.parent.is_dir() and not HUB_NAME.fullmatch(str(name)):
        raise BundleError(
            f"{name} is not the folder of a run: there is no such folder, and a model on the hub is named "
            "`org/name`, in letters, digits, '-', '_' and '.'"
        )
    if folder.exists() or not _may_be_on_the_hub(str(name)):
        if revision is not None:
            raise BundleError(f"`revision` is of a model on the hub, and {folder} is none")
        return folder
    return _fetched(str(name), revision)


def _may_be_on_the_hub(name: str) -> bool:
    return bool(HUB_NAME.fullmatch(name)) and not name.startswith(".") and not Path(name).parent.is_dir()


def _fetched(name: str, revision: str | None) -> Path:
    """Files and not links, as the hub's own cache has them: those of a saved model must be files.

    Where the hub is out of reach, what was fetched before is used.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    place = Path(constants.HF_HOME) / "legorec" / name.replace("/", "--")
    folder = place / (revision or "main").replace("/", "--")
    try:
        if not constants.HF_HUB_OFFLINE:
            # The download sends the same request without a limit, and waits minutes if a firewall drops it.
            HfApi().model_info(name, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        snapshot_download(name, revision=revision, allow_patterns=WANTED, local_dir=folder)
    except Exception as error:  # no such name, or out of reach; the classes differ between versions
        if not (folder / CONFIG).is_file():
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BundleError(f"'{name}' is no folder, and the hub does not provide it: {reason}") from error
    if not (folder / CONFIG).is_file():
        raise BundleError(f"'{name}' on the hub is no saved model of legorec: it has no {CONFIG}")
    return folder


@dataclass(frozen=True)
class SavedModel:
    """A saved model's folder, and what it says of itself."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> SavedModel:
        """Hold every file against its digest; those of the store are held when that is opened.

        Raises:
            BundleError: it is no saved model, or a file is missing or altered.
        """
        config = read_sealed(folder / CONFIG, FORMAT, REFUSAL, VERSION)
        facts = config["files"]
        for needed in (SETTINGS, WEIGHTS, f"{STORE}/manifest.json"):
            if needed not in facts:
                raise REFUSAL(folder / CONFIG, f"it has no digest of {needed}")
        for name in facts:
            if leads_out(name):
                raise BundleError(f"{folder / CONFIG}: the file name '{name}' leaves the folder")
        files = {folder / name: fact for name, fact in facts.items()}
        check_sizes(files, REFUSAL)
        check_digests(files, digest_files(files), REFUSAL)
        return cls(folder, config)

    @property
    def base(self) -> Mapping[str, str] | None:
        """Place in the settings, name and digest of the language model that is not in the folder."""
        return self.config["base"]

    @property
    def way_to_base(self) -> str:
        """How to load it with its base."""
        assert self.base is not None
        place, name, digest = (self.base[key] for key in ("place", "name", "digest"))
        return f"name {name} (digest {digest}) with legorec.load(..., paths={{'{place}': FOLDER}})"

    @property
    def has_vectors(self) -> bool:
        """Whether it holds vectors of its items that a language model made."""
        return VECTORS in self.config["files"]

    def vectors(self) -> Tensor:
        """(num_items, D)"""
        return read_matrix(self.folder / VECTORS)

    def counts(self) -> np.ndarray | None:
        """(num_items,) how many users clicked each item in training; None where that was not kept."""
        if COUNTS not in self.config["files"]:
            return None
        return load_arrays(self.folder / COUNTS)["clicks"]

    def over_vectors(self, settings: Settings) -> Settings:
        """The settings of the same model over the vectors of its items, without what made these."""
        update = {
            "source": BrickSettings(name="vectors", arguments={"embed_dim": None}),
            "item_encoder": BrickSettings(name="single", arguments={"hidden_dim": self.vectors().shape[1]}),
            "parts": {},
            "join": None,
        }
        tables = [TokenTableSettings(vocabulary=ITEMS, path=str(self.folder / VECTORS), transform="none")]
        embed = settings.embed.model_copy(update={"tables": tables, "codes": None})
        return replace(settings, model=settings.model.model_copy(update=update), embed=embed)

    def fill(self, model: nn.Module, inputs: Mapping[str, str], without_items: bool = False) -> None:
        """Put the weights into a model of the same make.

        Args:
            inputs: digests of what is at hand.
            without_items: the model is one of ``over_vectors``.
        Raises:
            ValueError: it was trained with something else.
        """
        path, left_out = self.folder / WEIGHTS, ITEM_SIDE if without_items else ()
        now = {name: digest for name, digest in inputs.items() if name.startswith(COMPARED)}
        check_inputs({"inputs": self.config["inputs"]}, now, path, str(self.folder / STORE))
        weights = {name: value for name, value in load_file(path).items() if not name.startswith(left_out)}
        load_weights(model, Checkpoint({"weights": weights}, {}), path, left_out)


def carried(saved: SavedModel, settings: Settings, device: str, named: Mapping[str, Any]) -> Any:
    """A saved model, over the vectors of its items where they are there and its base is not named."""
    bare = saved.base is not None and saved.base["place"] not in named and saved.has_vectors
    try:
        found = served(saved.over_vectors(settings) if bare else settings, usable_device(device))
    except ValueError as error:
        if saved.base is None or saved.base["place"] in named:
            raise
        raise ValueError(f"{error}; it needs its base: {saved.way_to_base}") from error
    inputs = found.inputs()
    saved.fill(found.model, inputs, without_items=bare)
    way = saved.way_to_base if bare else None
    origin = Origin(settings, inputs, saved.config["epoch"], saved.config["metrics"], way)
    trained = found.trained()
    trained.origin = origin
    trained.data.counted = saved.counts()
    if saved.has_vectors:
        trained.take_vectors(saved.vectors())
    if ADDED in saved.config["files"]:
        trained.take_added(read_added(saved.folder / ADDED))
    return trained
