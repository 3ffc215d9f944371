"""The checkpoint of a language model: a folder with a config, safetensors weights and a tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from legorec.files.digest import digest_files
from legorec.lm.checkpoint_files import PretrainedError, read_config, reason, weight_files
from legorec.lm.cut_check import layout_unnamed
from legorec.lm.empty_weights import empty_weights
from legorec.lm.model_types import FAMILIES, Family
from legorec.lm.stored import StoredWeights

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]  # weights, configs, tokenizers; nothing pickled
# The same weights again, in other layouts; 1_Pooling of sentence-transformers is none.
DOUBLES = ["[!0-9]*/*", "consolidated*"]


class Pretrained:
    """A checkpoint on disk. Weights are read tensor by tensor, and only those needed.

    Raises:
        PretrainedError: there is no readable config, or the family is not known.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or str(folder)
        self.config = read_config(folder, self.name)
        self.checked: set[int] = set()  # depths at which the cut was tried

    def __getstate__(self) -> dict[str, Any]:
        """A pickle names the folder from wherever it is read; where its weights lie is looked up again."""
        kept = {"name", "config", "checked", "family"} & self.__dict__.keys()
        return {name: self.__dict__[name] for name in kept} | {"folder": self.folder.resolve()}

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r}: {self.config.model_type}, {self.num_layers} x {self.width})"

    @cached_property
    def tried(self) -> bool:
        """Whether the cut is exact is not known beforehand."""
        return self.config.model_type not in FAMILIES or self.family.tried

    @cached_property
    def family(self) -> Family:
        """The layout: a row, or what one pass shows where there is none.

        Raises:
            ValueError: there is no row, and no layout is found.
        """
        named = FAMILIES.get(self.config.model_type)
        return layout_unnamed(self) if named is None else named

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
        return reach - self.first_position

    @property
    def first_position(self) -> int:
        """The position of a row's first token."""
        behind = self.family.positions_behind_padding
        return int(self.config.pad_token_id) + 1 if behind else self.family.first_position

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

    def skeleton(self, attention: str | None = None) -> PreTrainedModel:
        """The base model without weights: every parameter on ``meta``, buffers with their values.

        Args:
            attention: None: ``sdpa``, or the model's own where it has none.
        Raises:
            ValueError: the model does not have this attention implementation.
            PretrainedError: no model can be built with the settings of its config.
        """
        from transformers import AutoModel

        config = deepcopy(self.config)  # it holds the attention's name, which every pass reads
        try:
            with empty_weights():
                model = AutoModel.from_config(config, attn_implementation=attention, dtype=torch.float32)
        except Exception as error:  # a model's constructor raises whatever its parts do
            if isinstance(error, ImportError) or "attention impl" in str(error) or "attn_impl" in str(error):
                why = f"{self.name} cannot use `attention: {attention}`: {reason(error)}"
                raise ValueError(why) from error
            raise PretrainedError(
                f"{self.folder / 'config.json'}: no model can be built from it ({reason(error)})"
            ) from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return model

    @cached_property
    def _stored(self) -> StoredWeights:
        return StoredWeights(self.weight_files, self.skeleton())

    def fill(self, model: nn.Module, dtype: torch.dtype, within: str = "") -> None:
        """Read the weights of a skeleton's remaining modules, strictly; none under ``torch.device("meta")``.

        Args:
            within: where ``model`` is in the base model, such as ``layers.7.``; empty: it is all of it.
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
        for own, wanted in state.items():
            name = within + own
            if name not in self._stored:
                if wanted.device.type != "meta":  # a buffer that the model computes itself
                    loaded[own] = wanted
                    continue
                raise PretrainedError(f"{self.name} does not hold '{name}'; the checkpoint is incomplete")
            value = self._stored.read(name, opened)
            if value.shape != wanted.shape:
                raise PretrainedError(
                    f"{self.name}: '{name}' is {tuple(value.shape)}, its config requires "
                    f"{tuple(wanted.shape)}"
                )
            # A copy: tuning mapped weights would copy their pages one by one.
            loaded[own] = value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
        model.load_state_dict(loaded, strict=True, assign=True)

    def token_table(self) -> Tensor:
        """(V, E) only the token embeddings, mapped."""
        file, key = self._token_table_place
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(key)

    def token_rows(self, rows: Sequence[int]) -> Tensor:
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
        if f"{name}.weight" not in self._stored.places:
            raise PretrainedError(f"{self.name} does not hold '{name}.weight'; the checkpoint is incomplete")
        return self._stored.places[f"{name}.weight"]


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
