"""The files of a saved adapter, as peft writes and reads them.

A saved adapter is a folder that peft loads without this library:

    adapter_config.json, adapter_model.safetensors    for the bare model (``AutoModel``)
    with-head/                                        both again, for the model with a head
                                                      (``AutoModelForCausalLM``, ``AutoModelForMaskedLM``)

The two hold the same weights; only their names differ, by the prefix that a model with a head puts before
those of its base. In the header of the weights stands the digest of the base that they were trained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from legorec.files.disk import flush, share
from legorec.files.json_text import parse_json
from legorec.files.manifest import save_json
from legorec.files.sealed import load_sealed, save_sealed
from legorec.files.whole import folder_whole

CONFIG, WEIGHTS, WITH_HEAD = "adapter_config.json", "adapter_model.safetensors", "with-head"
LAYOUT = {CONFIG, WEIGHTS, WITH_HEAD}
ROOT = "base_model.model."  # what peft puts before every name of the model it wraps
BASE = "legorec.base"
# Settings of an adapter with which its weights would mean something else than they do here.
VARIANTS = (
    *("alora_invocation_tokens", "alpha_pattern", "arrow_config", "bias", "kasa_config", "layer_replication"),
    *("lora_bias", "modules_to_save", "monteclora_config", "rank_pattern", "target_parameters"),
    *("trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "use_rslora", "velora_config"),
)
UNTOUCHED = (
    None,
    True,
    False,
    "gaussian",
    "eva",
    "orthogonal",
)  # initialisations that leave the model unchanged


class AdapterError(ValueError):
    """A saved adapter that is missing, damaged, or made for another model or other settings."""


def write_adapter(
    folder: Path,
    bare: Mapping[str, Tensor],
    prefix: str,
    facts: Mapping[str, Any],
    head: Mapping[str, Any] | None,
    base: str,
) -> None:
    """Write both layouts aside and rename them into place; an earlier adapter there goes only then.

    Args:
        bare: weights by their names in the bare model.
        prefix: what the model with a head puts before them.
        facts: the content of the config.
        head: what of it differs for the model with a head; None if there is none.
        base: digest of the model that they were trained on.

    Raises:
        ValueError: the folder holds something else, which is left alone.
        WriteError: the disk is full, or may not be written.
    """
    if folder.exists() and (not folder.is_dir() or {each.name for each in folder.iterdir()} - LAYOUT):
        raise ValueError(f"{folder} holds more than an adapter and is not replaced; name a new folder")
    size = 2 * sum(weight.nbytes for weight in bare.values())
    with folder_whole(folder, size, "about ") as partial:
        _write(partial, bare, facts, base)
        if head is not None:
            (partial / WITH_HEAD).mkdir()
            named = {prefix + name: bare[name] for name in bare}
            _write(partial / WITH_HEAD, named, {**facts, **head}, base)


def _write(folder: Path, weights: Mapping[str, Tensor], facts: Mapping[str, Any], base: str) -> None:
    file = folder / WEIGHTS
    said = {"format": "pt", BASE: base}
    save_sealed({ROOT + name: weight for name, weight in weights.items()}, file, said)
    share(file)
    flush(file)
    save_json(folder / CONFIG, facts)
    flush(folder)


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of the config.

    Raises:
        AdapterError: there is none, or it is not one of LoRA.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise AdapterError(f"{folder} is no saved adapter: it has no {CONFIG}")
    try:
        facts = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{file} is no JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("peft_type") != "LORA":
        raise AdapterError(f"{file}: `peft_type` must be LORA")
    return facts


def refuse_variants(facts: Mapping[str, Any], folder: Path) -> None:
    """Raises AdapterError: the adapter's settings give its weights a meaning that they do not have here."""
    strange = [key for key in VARIANTS if facts.get(key) not in (None, False, "none", {}, [])]
    if facts.get("init_lora_weights") not in UNTOUCHED:
        strange.append("init_lora_weights")
    if strange:
        raise AdapterError(
            f"the adapter {folder} has `{strange[0]}` {facts[strange[0]]}, which is not supported"
        )


def check_base(folder: Path, digest: str, name: str) -> None:
    """Check that weights were trained on the model at hand; says so where they do not tell.

    Args:
        digest: of the model, and its name.

    Raises:
        AdapterError: they were trained on another.
    """
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        base = (file.metadata() or {}).get(BASE)
    if base is None:
        warnings.warn(
            f"the adapter {folder} does not say which weights it was trained on, as none of another program "
            f"does; it is taken to be made for those of {name}",
            stacklevel=3,
        )
    elif base != digest:
        raise AdapterError(
            f"the adapter {folder} was trained on other base weights (digest {base}) than those of {name} "
            f"({digest}); name the model that it was trained on with --lm_path"
        )


def read_weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    """The weights by their names in the bare model, of either layout.

    Raises:
        AdapterError: there are none, or their file is damaged.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = ": adapter_model.bin is pickled and is not read" if pickled else ""
        raise AdapterError(f"the adapter {folder} has no {WEIGHTS}{why}")
    try:
        found = load_sealed(file)
    except ValueError as error:
        raise AdapterError(str(error)) from error
    if not found:
        raise AdapterError(f"{file} holds no weights: the adapter was lost when it was saved")
    return {name.removeprefix(ROOT).removeprefix(prefix): value for name, value in found.items()}
