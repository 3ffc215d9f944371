"""The files of a language model's checkpoint: its config, and where its weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.files.manifest import is_plain
from legorec.lm.model_types import refuse_type

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

INDEX = "model.safetensors.index.json"


class PretrainedError(ValueError):
    """A checkpoint that is missing, out of reach, or of an unsupported kind."""


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """The config of a checkpoint; code that comes with it is never run.

    Raises:
        PretrainedError: there is none, or the weights are quantised.
        ValueError: the model's family is not known.
    """
    from transformers import AutoConfig

    file = folder / "config.json"
    if not file.is_file():
        raise PretrainedError(f"{folder} is not a checkpoint of a language model: it has no config.json")
    facts = _read_json(file)
    if facts.get("quantization_config"):
        raise PretrainedError(f"{folder} is quantised, which is not supported; name the full checkpoint")
    refuse_type(str(facts.get("model_type")), name)  # before transformers offers to run the repository's code
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def weight_files(folder: Path, name: str) -> list[Path]:
    """Every safetensors file of the weights.

    Raises:
        PretrainedError: there is none, or a part is missing.
    """
    index = folder / INDEX
    names = ["model.safetensors"]
    if index.is_file():
        try:
            names = sorted(set(_read_json(index)["weight_map"].values()))
            outside = [each for each in names if not is_plain(each)]
        except (LookupError, AttributeError, TypeError) as error:
            raise PretrainedError(f"{index} does not say where the weights are: {error!r}") from error
        if outside:
            raise PretrainedError(f"{index} leads out of its folder: '{outside[0]}'")
    files = [folder / each for each in names]
    missing = [file for file in files if not file.is_file()]
    if missing and index.is_file():
        raise PretrainedError(f"{name} is incomplete: {missing[0].name} is missing; fetch it again")
    if missing:
        pickled = sorted(folder.glob("*.bin"))
        there = f"{pickled[0].name} is pickled and is not read; " if pickled else ""
        raise PretrainedError(
            f"{name} has no model.safetensors: {there}weights are read only from safetensors "
            "(save_pretrained of a current transformers writes them)"
        )
    return files


def _read_json(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PretrainedError(f"{file} is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise PretrainedError(f"{file} must hold a JSON object, it holds a {type(facts).__name__}")
    return facts
