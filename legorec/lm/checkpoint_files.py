"""The files of a language model's checkpoint: its config, and where its weights are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.files.json_text import parse_json
from legorec.files.manifest import is_plain
from legorec.lm.model_types import refuse_type

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

INDEX = "model.safetensors.index.json"
# The largest sizes that are believed, well above any model's: building a billion layers runs for hours.
_MOST_OF = {
    1_000: ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    1 << 16: ("num_attention_heads", "n_head", "n_heads", "num_key_value_heads"),
    1 << 20: ("hidden_size", "n_embd", "d_model", "dim", "head_dim", "embedding_size", "word_embed_proj_dim"),
    1 << 22: ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim"),
    1 << 28: ("vocab_size",),
    1 << 40: ("max_position_embeddings", "n_positions"),
}


class PretrainedError(ValueError):
    """A checkpoint that is missing, out of reach, or of an unsupported kind."""


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """The config of a checkpoint; code that comes with it is never run.

    Raises:
        PretrainedError: there is none, the weights are quantised, or a setting is none that a model can have.
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
    _check_sizes(facts, file)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what it raises of wrong values differs between models and versions
        raise PretrainedError(f"{file} cannot be read: {reason(error)}") from error
    for name in ("num_hidden_layers", "hidden_size", "vocab_size"):
        if type(value := getattr(config, name, None)) is not int:
            raise PretrainedError(f"{file}: `{name}` must be a whole number, got {value!r}")
    return config


def reason(error: Exception) -> str:
    """What a library says of something wrong, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [""])[0]
    return said if isinstance(error, ValueError) and said else f"{type(error).__name__} {said}".strip()


def _check_sizes(facts: dict[str, Any], file: Path) -> None:
    """Refuse sizes that no model has, before anything is built from them."""
    for most, names in _MOST_OF.items():
        for name in names:
            value = facts.get(name)
            if value is not None and not (type(value) is int and 1 <= value <= most):
                raise PretrainedError(
                    f"{file}: `{name}` must be a whole number between 1 and {most:,}, got {str(value)[:40]!r}"
                )


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
        facts = parse_json(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise PretrainedError(f"{file} is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise PretrainedError(f"{file} must hold a JSON object, it holds a {type(facts).__name__}")
    return facts
