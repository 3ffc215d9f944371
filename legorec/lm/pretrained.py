"""The checkpoint of a language model: a folder with a config, safetensors weights and a tokenizer."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from legorec.data.digest import digest_files
from legorec.lm.families import Family, family_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig, PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
INDEX = "model.safetensors.index.json"
FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]  # weights, configs, tokenizers; nothing pickled


class PretrainedError(ValueError):
    """A checkpoint that is missing, out of reach, or not of a kind that can be used."""


class Pretrained:
    """A checkpoint on disk. Weights are read tensor by tensor, and only those that are asked for.

    Raises:
        PretrainedError: there is no readable config, or the family is not known.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or str(folder)
        self.config = _read_config(folder)
        self.family: Family = family_of(self.config.model_type, self.name)

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r}: {self.family.model_type}, {self.num_layers} x {self.width})"

    @property
    def num_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Of the states between the layers."""
        return int(self.config.hidden_size)

    @property
    def output_width(self) -> int:
        """Behind the last layer; OPT-350m projects there."""
        return int(getattr(self.config, "word_embed_proj_dim", self.width))

    @property
    def vocab_size(self) -> int:
        return int(self.config.vocab_size)

    def depth(self, layer: int) -> int:
        """Layers already applied: as given, or counted from the top where negative.

        Raises:
            ValueError: the model has not as many.
        """
        depth = layer + self.num_layers if layer < 0 else layer
        if not 0 <= depth <= self.num_layers:
            raise ValueError(
                f"`depth` must be between {-self.num_layers} and {self.num_layers}, the layers of "
                f"{self.name}, got {layer}"
            )
        return depth

    @cached_property
    def weight_files(self) -> list[Path]:
        """Every safetensors file of the weights.

        Raises:
            PretrainedError: there is none.
        """
        index = self.folder / INDEX
        if index.is_file():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        files = [self.folder / name for name in names]
        for file in files:
            if not file.is_file():
                pickled = sorted(self.folder.glob("*.bin"))
                there = f"{pickled[0].name} is pickled and is not read; " if pickled else ""
                raise PretrainedError(
                    f"{self.name} has no {file.name}: {there}weights are taken from safetensors alone "
                    "(save_pretrained of a current transformers writes them)"
                )
        return files

    def digest(self) -> str:
        """Of the config and every weight file; large files are read once and remembered."""
        files = [self.folder / "config.json", *self.weight_files]
        digests = digest_files(files)
        text = " ".join(f"{file.name}:{digests[file]}" for file in files)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, without padding or truncation."""
        from legorec.data.text import load_tokenizer

        return load_tokenizer(self.folder)

    def skeleton(self, attention: str = "sdpa") -> PreTrainedModel:
        """The base model without weights: every parameter on ``meta``, buffers as they must be.

        Raises:
            ValueError: the model does not have this attention implementation.
        """
        from accelerate import init_empty_weights
        from transformers import AutoModel

        try:
            with init_empty_weights(include_buffers=False):
                model = AutoModel.from_config(self.config, attn_implementation=attention, dtype=torch.float32)
        except (ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.name} cannot use `attention: {attention}`: {reason}") from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return model

    @cached_property
    def _prefix(self) -> str:
        """What a model with a head puts before the names of the base model."""
        return self.skeleton().base_model_prefix + "."

    @cached_property
    def _places(self) -> dict[str, tuple[Path, str]]:
        """Name in the base model -> file and name there."""
        places = {}
        for file in self.weight_files:
            try:
                with safe_open(file, framework="pt") as opened:
                    for key in opened.keys():  # noqa: SIM118 - no mapping
                        name = key.removeprefix(self._prefix)
                        # The first BERTs were saved with TensorFlow's names for a norm's weight and bias.
                        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
                        places[name.replace("LayerNorm.beta", "LayerNorm.bias")] = (file, key)
            except (OSError, SafetensorError) as error:
                raise PretrainedError(f"{file} cannot be read: {error}") from error
        return places

    def fill(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Read the weights of what is left of a skeleton, strictly; under ``torch.device("meta")`` none.

        Raises:
            PretrainedError: the checkpoint lacks a weight, or has it in another shape.
        """
        if torch.get_default_device().type == "meta":
            return
        state = model.state_dict()
        loaded: dict[str, Tensor] = {}
        opened: dict[Path, Any] = {}
        for name, wanted in state.items():
            if name not in self._places:
                if wanted.device.type != "meta":  # a buffer that the model computes for itself
                    loaded[name] = wanted
                    continue
                raise PretrainedError(f"{self.name} does not hold '{name}'; it is not a whole checkpoint")
            file, key = self._places[name]
            if file not in opened:
                opened[file] = safe_open(file, framework="pt")
            value = opened[file].get_tensor(key)
            if value.shape != wanted.shape:
                raise PretrainedError(
                    f"{self.name}: '{name}' is {tuple(value.shape)}, its config asks for "
                    f"{tuple(wanted.shape)}"
                )
            # A copy: mapped weights would be written through to private pages one by one when tuned.
            loaded[name] = value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
        model.load_state_dict(loaded, strict=True, assign=True)

    def token_table(self) -> Tensor:
        """(V, E) the token embeddings alone, mapped."""
        file, key = self._token_table_place
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(key)

    def token_rows(self, rows: list[int]) -> Tensor:
        """Some rows of the token embeddings, without reading the others."""
        file, key = self._token_table_place
        with safe_open(file, framework="pt") as opened:
            table = opened.get_slice(key)
            return torch.cat([table[row : row + 1] for row in rows])

    @cached_property
    def _token_table_place(self) -> tuple[Path, str]:
        model = self.skeleton()
        table = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is table)
        if f"{name}.weight" not in self._places:
            raise PretrainedError(f"{self.name} does not hold '{name}.weight'; it is not a whole checkpoint")
        return self._places[f"{name}.weight"]


def find_pretrained(name: str) -> Pretrained:
    """A folder, or a model of the Hugging Face hub by name: from the local cache first, then fetched.

    Raises:
        PretrainedError: no such folder, out of reach (with the command that fetches it), gated, or unusable.
    """
    folder = Path(name)
    if folder.is_dir():
        return Pretrained(folder, name)
    parts = name.split("/")
    if len(parts) > 2 or folder.is_absolute() or name.startswith((".", "~")) or folder.parent.is_dir():
        raise PretrainedError(
            f"there is no folder {name}; put the model's config.json, safetensors and tokenizer there, or "
            "name another with --lm_path"
        )
    return Pretrained(_from_hub(name), name)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    fetch = f"hf download {name} --local-dir weights/{name.split('/')[-1]}"
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except ValueError as error:  # no such name can exist
        raise PretrainedError(f"'{name}' is no folder and no name of the hub: {error}") from error
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise PretrainedError(f"'{name}' is no folder, and offline; fetch it beforehand: {fetch}")
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except GatedRepoError as error:
        raise PretrainedError(
            f"'{name}' is gated: accept its terms on the hub, log in with `hf auth login`, and fetch it: {fetch}"
        ) from error
    except HfHubHTTPError as error:
        raise PretrainedError(
            f"'{name}' is no folder, and the hub does not give it: {str(error).splitlines()[0]}"
        ) from error
    except OSError as error:  # connection errors among them
        raise PretrainedError(
            f"'{name}' is no folder, and the hub is out of reach; where it is not: {fetch}"
        ) from error


def _read_config(folder: Path) -> PreTrainedConfig:
    from transformers import AutoConfig

    file = folder / "config.json"
    if not file.is_file():
        raise PretrainedError(f"{folder} is no checkpoint of a language model: it has no config.json")
    try:
        facts = json.loads(file.read_text())
    except ValueError as error:
        raise PretrainedError(f"{file} is no JSON: {error}") from error
    if facts.get("quantization_config"):
        raise PretrainedError(f"{folder} is quantised, which is not supported; name the full checkpoint")
    family_of(str(facts.get("model_type")), str(folder))  # before transformers asks for the repository's code
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
