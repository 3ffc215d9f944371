"""A saved model's folder: found here or on the hub, checked, and its weights put into a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import nn

from legorec.data.vectors import ITEMS
from legorec.engine.checkpoint import Checkpoint
from legorec.engine.weights import check_inputs, load_weights
from legorec.files.digest import digest_files
from legorec.files.manifest import check_digests, check_sizes, leads_out, read_sealed
from legorec.recipes.inputs.given_vectors import read_matrix
from legorec.recipes.outputs.bundle import (
    COMPARED,
    CONFIG,
    FORMAT,
    REFUSAL,
    SETTINGS,
    VECTORS,
    VERSION,
    WEIGHTS,
)
from legorec.recipes.outputs.bundle_settings import STORE, BundleError
from legorec.settings.schema import BrickSettings, TokenTableSettings

if TYPE_CHECKING:
    from legorec.settings import Settings

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ["*.json", "*.safetensors", SETTINGS, "README.md"]  # nothing pickled


def find_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a run or a saved model; one that is not there and could be a name on the hub is fetched.

    Raises:
        BundleError: it is nowhere, or a revision of a folder is asked for.
    """
    folder = Path(name)
    if folder.exists() or not _may_be_on_the_hub(str(name)):
        if revision is not None:
            raise BundleError(f"`revision` is of a model on the hub, and {folder} is none")
        return folder
    return _fetched(str(name), revision)


def _may_be_on_the_hub(name: str) -> bool:
    return bool(HUB_NAME.fullmatch(name)) and not name.startswith(".") and not Path(name).parent.is_dir()


def _fetched(name: str, revision: str | None) -> Path:
    """Files and not links, as the hub's own cache has them: those of a saved model must be files."""
    import huggingface_hub

    place = Path(huggingface_hub.constants.HF_HOME) / "legorec" / name.replace("/", "--")
    try:
        fetched = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=WANTED,
            local_dir=place / (revision or "main").replace("/", "--"),
        )
    except Exception as error:  # no such name, or out of reach; the classes differ between versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(f"'{name}' is no folder, and the hub does not provide it: {reason}") from error
    folder = Path(fetched)
    if not (folder / CONFIG).is_file():
        raise BundleError(f"'{name}' on the hub is no saved model of legorec: it has no {CONFIG}")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """What a saved model says of itself, after every file was held against its digest.

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
    return config


def items_as_vectors(folder: Path, settings: Settings) -> Settings:
    """The settings of the same model over the vectors of its items, without what made these."""
    path = str(folder / VECTORS)
    width = read_matrix(folder / VECTORS).shape[1]
    update = {
        "source": BrickSettings(name="vectors", arguments={"embed_dim": None}),
        "item_encoder": BrickSettings(name="single", arguments={"hidden_dim": width}),
        "parts": {},
        "join": None,
    }
    tables = [TokenTableSettings(vocabulary=ITEMS, path=path, transform="none")]
    embed = settings.embed.model_copy(update={"tables": tables, "codes": None})
    return replace(settings, model=settings.model.model_copy(update=update), embed=embed)


def load_saved(
    folder: Path,
    config: Mapping[str, Any],
    model: nn.Module,
    inputs: Mapping[str, str],
    left_out: tuple[str, ...] = (),
) -> None:
    """Put the weights of a saved model into one of the same make.

    Args:
        inputs: digests of what is at hand.
        left_out: what the names of weights begin with that the model at hand has not.
    Raises:
        ValueError: it was trained with something else.
    """
    path = folder / WEIGHTS
    now = {name: digest for name, digest in inputs.items() if name.startswith(COMPARED)}
    check_inputs({"inputs": config["inputs"]}, now, path, str(folder / STORE))
    weights = {name: value for name, value in load_file(path).items() if not name.startswith(left_out)}
    load_weights(model, Checkpoint({"weights": weights}, {}), path, left_out)
