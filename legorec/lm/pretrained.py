"""The checkpoint of a language model: a folder with a config, safetensors weights and a tokenizer."""

from __future__ import annotations

import hashlib
import os
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from legorec.files.digest import digest_files
from legorec.lm.checkpoint_files import PretrainedError, read_config, weight_files
from legorec.lm.empty_weights import empty_weights
from legorec.lm.model_types import Family, family_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]  # weights, configs, tokenizers; nothing pickled
DOUBLES = ["*/*", "consolidated*"]  # the same weights again, in their authors' own layout


class Pretrained:
    """A checkpoint on disk. Weights are read tensor by tensor, and only those needed.

    Raises:
        PretrainedError: there is no readable config, or the family is not known.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or str(folder)
        self.config = read_config(folder, self.name)
        self.family: Family = family_of(self.config.model_type, self.name)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle names the folder from wherever it is read; where its weights lie is looked up again."""
        kept = ("name", "config", "family")
        return {name: self.__dict__[name] for name in kept} | {"folder": self.folder.resolve()}

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r}: {self.family.model_type}, {self.num_layers} x {self.width})"

    @property
    def num_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Width of the states between the layers."""
        return int(self.config.hidden_size)

    @property
    def output_width(self) -> int:
        """Width after the last layer; OPT-350m projects there."""
        return int(getattr(self.config, "word_embed_proj_dim", self.width))

    @property
    def token_width(self) -> int:
        """Width of the token embeddings; ELECTRA and OPT-350m project them to ``width``."""
        names = ("word_embed_proj_dim", "embedding_size")
        return int(next((value for name in names if (value := getattr(self.config, name, None))), self.width))

    @property
    def vocab_size(self) -> int:
        return int(self.config.vocab_size)

    @property
    def max_length(self) -> int:
        """The number of tokens that the model's positions allow."""
        reach = int(getattr(self.config, "max_position_embeddings", 1 << 30))
        return reach - (self.config.pad_token_id + 1 if self.family.positions_behind_padding else 0)

    def depth(self, layer: int) -> int:
        """Layers already applied; a negative ``layer`` is counted from the top.

        Raises:
            ValueError: the model does not have as many.
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
            PretrainedError: there is none, or a part is missing.
        """
        return weight_files(self.folder, self.name)

    def digest(self) -> str:
        """Digest of the config and every weight file; large files are read once and remembered."""
        files = [self.folder / "config.json", *self.weight_files]
        digests = digest_files(files)
        text = " ".join(f"{file.name}:{digests[file]}" for file in files)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer, without padding or truncation."""
        from legorec.data.text import load_tokenizer

        return load_tokenizer(self.folder)

    def skeleton(self, attention: str = "sdpa") -> PreTrainedModel:
        """The base model without weights: every parameter on ``meta``, buffers with their values.

        Raises:
            ValueError: the model does not have this attention implementation.
        """
        from transformers import AutoModel

        config = deepcopy(self.config)  # it holds the attention's name, which every pass reads
        try:
            with empty_weights():
                model = AutoModel.from_config(config, attn_implementation=attention, dtype=torch.float32)
        except (ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.name} cannot use `attention: {attention}`: {reason}") from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return model

    @cached_property
    def _prefix(self) -> str:
        """The prefix of the base model's names in a model with a head."""
        return self.skeleton().base_model_prefix + "."

    @cached_property
    def _places(self) -> dict[str, tuple[Path, str]]:
        """Name in the base model -> file and name there."""
        places = {}
        for file in self.weight_files:
            try:
                with safe_open(file, framework="pt") as opened:
                    for key in opened.keys():  # noqa: SIM118 - not a mapping
                        name = key.removeprefix(self._prefix)
                        # The first BERTs were saved with TensorFlow's names for a norm's weight and bias.
                        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
                        places[name.replace("LayerNorm.beta", "LayerNorm.bias")] = (file, key)
            except (OSError, SafetensorError) as error:
                raise PretrainedError(f"{file} cannot be read: {error}") from error
        return places

    def fill(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Read the weights of a skeleton's remaining modules, strictly; none under ``torch.device("meta")``.

        Raises:
            PretrainedError: the checkpoint lacks a weight, or has it in another shape.
        """
        if torch.get_default_device().type == "meta":
            for parameter in model.parameters():
                parameter.data = parameter.data.to(dtype)
            return
        state = model.state_dict()
        loaded: dict[str, Tensor] = {}
        opened: dict[Path, Any] = {}
        for name, wanted in state.items():
            if name not in self._places:
                if wanted.device.type != "meta":  # a buffer that the model computes itself
                    loaded[name] = wanted
                    continue
                raise PretrainedError(f"{self.name} does not hold '{name}'; the checkpoint is incomplete")
            file, key = self._places[name]
            if file not in opened:
                opened[file] = safe_open(file, framework="pt")
            value = opened[file].get_tensor(key)
            if value.shape != wanted.shape:
                raise PretrainedError(
                    f"{self.name}: '{name}' is {tuple(value.shape)}, its config requires "
                    f"{tuple(wanted.shape)}"
                )
            # A copy: tuning mapped weights would copy their pages one by one.
            loaded[name] = value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
        model.load_state_dict(loaded, strict=True, assign=True)

    def token_table(self) -> Tensor:
        """(V, E) only the token embeddings, mapped."""
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
            raise PretrainedError(f"{self.name} does not hold '{name}.weight'; the checkpoint is incomplete")
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
    beside = len(parts) == 2 and folder.parent.is_dir()
    if len(parts) > 2 or folder.is_absolute() or name.startswith((".", "~")) or beside:
        raise PretrainedError(
            f"there is no folder {name}; put the model's config.json, safetensors and tokenizer there, or "
            "name another with --lm_path"
        )
    return Pretrained(_from_hub(name), name)


def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    fetch = f"hf download {name} --local-dir weights/{name.split('/')[-1]}"
    chosen: dict[str, Any] = {"allow_patterns": FILES, "ignore_patterns": DOUBLES}
    try:
        cached = Path(snapshot_download(name, local_files_only=True, **chosen))
        weight_files(cached, name)
        return cached
    except HFValidationError as error:  # the hub cannot have such a name
        raise PretrainedError(f"'{name}' is neither a folder nor a name on the hub: {error}") from error
    except (LocalEntryNotFoundError, PretrainedError):
        pass  # not there, or only in part: other programs fetch just the config
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise PretrainedError(
            f"'{name}' is not a folder, and this run is offline; fetch it beforehand: {fetch}"
        )
    try:
        # The download sends the same request without a limit, and waits minutes if a firewall drops it.
        HfApi().model_info(name, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(snapshot_download(name, **chosen))
    except GatedRepoError as error:
        raise PretrainedError(
            f"'{name}' is gated: accept its terms on the hub, log in with `hf auth login`, and fetch it: "
            f"{fetch}"
        ) from error
    except HfHubHTTPError as error:
        raise PretrainedError(
            f"'{name}' is not a folder, and the hub does not provide it: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:  # a connection error; its class differs between versions of the library
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PretrainedError(
            f"'{name}' is not a folder, and the hub is out of reach ({reason}); where it is not: {fetch}"
        ) from error
