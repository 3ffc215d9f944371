"""LoRA on the upper layers of a language model, through peft and in its format (Hu et al., 2021)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from legorec.lm.adapter_files import (
    AdapterError,
    check_base,
    read_facts,
    read_weights,
    refuse_variants,
    write_adapter,
)
from legorec.lm.cut import UpperLayers
from legorec.lm.model_types import layers_at
from legorec.lm.pretrained import Pretrained
from legorec.lm.spread import plain_class
from legorec.nn.dropout import Dropout

if TYPE_CHECKING:
    from peft import LoraConfig

NAME = "default"  # peft's name for an adapter without one


@dataclass(frozen=True)
class LoRA:
    """How the upper layers are tuned: ``W x + alpha / r * B A dropout(x)``, with ``B`` zero at first.

    Args:
        enabled: False tunes the layers' own weights instead.
        r: rank of the update.
        alpha: its scale, before it is divided by the rank.
        dropout: on the input of the update.
        targets: names of the linear layers that are tuned; None: those usual for the model's family.
        adapter: folder of a saved adapter to start from.

    Raises:
        ValueError: a value is out of range, or ``adapter`` is given but would not be read.
    """

    enabled: bool = True
    r: int = 32
    alpha: float = 128.0
    dropout: float = 0.1
    targets: list[str] | None = None
    adapter: str | None = None

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(
                f"`lora.r` must be at least 1, got {self.r}; `lora.enabled: false` tunes no adapter"
            )
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ValueError(f"`lora.alpha` must be above 0, got {self.alpha}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"`lora.dropout` must be at least 0 and below 1, got {self.dropout}")
        if self.targets is not None and not self.targets:
            raise ValueError(
                "`lora.targets` must name at least one layer, got []; leave it out for the usual"
            )
        if self.adapter and not self.enabled:
            raise ValueError(f"`lora.adapter` {self.adapter} is not read where `lora.enabled` is false")


def inject(upper: UpperLayers, pretrained: Pretrained, lora: LoRA) -> None:
    """Freeze the layers and put untrained adapters into them, which change nothing yet.

    The weights are drawn from torch's global seed, in float32 whatever the dtype of the layers.
    ``lora.enabled`` and ``lora.adapter`` are left to the caller.

    Raises:
        ValueError: no layer is left to tune, or none has a linear layer with a target's name.
    """
    from peft import inject_adapter_in_model

    if upper.depth == pretrained.num_layers:
        raise ValueError(
            f"LoRA has no layer to tune: all {pretrained.num_layers} of {pretrained.name} lie below "
            f"`layer` {upper.depth}; set a lower one, or `lora.enabled: false`"
        )
    there = _linear_names(upper, pretrained)
    if not _targets(pretrained, lora):
        raise ValueError(
            f"`lora.targets` must be named for {pretrained.name}: it is of type "
            f"'{pretrained.family.model_type}', of which none are usual; its linear layers are "
            f"{', '.join(sorted(there))}"
        )
    for target in _targets(pretrained, lora):
        if not any(f".{name}".endswith(f".{target}") for name in there):
            raise ValueError(
                f"`lora.targets`: no layer of {pretrained.name} has '{target}'; its linear layers are "
                f"{', '.join(sorted(there))}"
            )
    upper.requires_grad_(False)
    inject_adapter_in_model(_config(upper, pretrained, lora), upper.model)
    for _, layer in _lora_layers(upper.model):
        layer.lora_A[NAME].float()
        layer.lora_B[NAME].float()
        # Drawn again: peft rounds its own draw where the layers are of low precision.
        layer.reset_lora_parameters(NAME, True)
        if lora.dropout:
            layer.lora_dropout[NAME] = Dropout(lora.dropout)
    upper.train(upper.training)


def save_adapter(upper: UpperLayers, pretrained: Pretrained, folder: Path, lora: LoRA) -> None:
    """Write the adapters in peft's format, completely or not at all; an earlier adapter there is replaced.

    ``folder`` itself is for the bare model, ``folder/with-head`` for the one with a head, where transformers
    has one. Layers are numbered as in the whole model, wherever it was cut.

    Raises:
        ValueError: the folder holds something else.
    """
    from transformers.models.auto import modeling_auto

    causal = pretrained.family.causal
    heads = "MODEL_FOR_CAUSAL_LM_MAPPING" if causal else "MODEL_FOR_MASKED_LM_MAPPING"
    headed = getattr(modeling_auto, heads).get(type(pretrained.config), None)
    config = _config(upper, pretrained, lora)
    config.inference_mode = True
    # A path on this machine would be useless on another.
    whole_path = os.path.isabs(pretrained.name)
    config.base_model_name_or_path = pretrained.folder.resolve().name if whole_path else pretrained.name
    # As a sorted list: peft writes its set in a different order each time.
    facts = {**config.to_dict(), "target_modules": sorted(set(_targets(pretrained, lora)))}
    facts["auto_mapping"] = _origin(upper, plain_class(upper.model).__name__)
    head: dict[str, Any] | None = None
    if headed is not None:
        head = {"auto_mapping": _origin(upper, headed.__name__)}
        if causal:
            head["task_type"] = "CAUSAL_LM"
    weights = {
        name: weight.detach().cpu().contiguous() for name, weight in adapter_weights(upper.model).items()
    }
    assert weights, "inject comes first"
    write_adapter(folder, weights, _prefix(upper), facts, head, pretrained.digest())


def load_adapter(upper: UpperLayers, pretrained: Pretrained, folder: Path) -> None:
    """Fill the adapters that ``inject`` made; changes nothing unless everything fits.

    Args:
        folder: written by ``save_adapter`` or by peft, for the bare model or for one with a head.

    Raises:
        AdapterError: the adapter is missing, damaged or untrained, or was made for another model, other
            weights of it, another rank, scale or choice of layers.
    """
    wanted = adapter_weights(upper.model)
    assert wanted, "inject comes first"
    _check_facts(read_facts(folder), upper, folder)
    found = read_weights(folder, _prefix(upper))
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unexpected:
        raise AdapterError(
            f"the adapter {folder} tunes {_summary(found, pretrained)}, this model is set to tune "
            f"{_summary(wanted, pretrained)}: missing {_first(missing)}, not expected {_first(unexpected)}. "
            "`layer` and `lora.targets` must be those that it was trained with"
        )
    fill_adapters(wanted, found, pretrained, folder)


def fill_adapters(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], pretrained: Pretrained, folder: Path
) -> None:
    """Copy saved weights into those of the same names; changes nothing unless everything fits.

    Raises:
        AdapterError: a weight has another shape, is not finite or never learned, or the base is another.
    """
    for name, value in found.items():
        if value.shape != wanted[name].shape or not value.is_floating_point():
            raise AdapterError(
                f"the adapter {folder}: '{name}' is {tuple(value.shape)} {value.dtype}, this model's is "
                f"{tuple(wanted[name].shape)}; it was made for another model"
            )
        if not value.isfinite().all():
            raise AdapterError(f"the adapter {folder}: '{name}' holds values that are not finite")
    if not any(value.any() for name, value in found.items() if ".lora_B." in name):
        raise AdapterError(f"the adapter {folder} was never trained: every lora_B is zero")
    if torch.get_default_device().type != "meta":  # there it is only counted
        check_base(folder, pretrained.digest(), pretrained.name)
    with torch.no_grad():
        for name, weight in wanted.items():
            weight.copy_(found[name])


def _prefix(upper: UpperLayers) -> str:
    """The prefix of the base model's names in the model with a head."""
    return f"{upper.model.base_model_prefix}."


def _origin(upper: UpperLayers, name: str) -> dict[str, str]:
    """The class of the base model, for peft to find."""
    return {"base_model_class": name, "parent_library": plain_class(upper.model).__module__}


def _targets(pretrained: Pretrained, lora: LoRA) -> list[str]:
    return list(pretrained.family.targets) if lora.targets is None else lora.targets


def _linear_names(upper: UpperLayers, pretrained: Pretrained) -> set[str]:
    """Names, within a layer, of the linear layers of all upper layers."""
    from transformers.pytorch_utils import Conv1D

    layers = layers_at(upper.model, pretrained.family.layers)
    return {
        name
        for layer in layers[upper.depth :]
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def _config(upper: UpperLayers, pretrained: Pretrained, lora: LoRA) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=_targets(pretrained, lora),
        layers_to_transform=list(range(upper.depth, pretrained.num_layers)),
        layers_pattern=[pretrained.family.layers.rpartition(".")[2]],
        fan_in_fan_out=pretrained.family.fused,
    )


def _lora_layers(base: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in base.named_modules() if isinstance(module, LoraLayer)]


def adapter_weights(base: nn.Module) -> dict[str, Tensor]:
    """Name, as peft saves it but without its prefix -> the weight of an adapter in a base model."""
    return {
        f"{name}.{side}.weight": getattr(layer, side)[NAME].weight
        for name, layer in _lora_layers(base)
        for side in ("lora_A", "lora_B")
    }


def _check_facts(facts: dict[str, Any], upper: UpperLayers, folder: Path) -> None:
    """Check what the names and shapes of the weights do not show."""
    origin = (facts.get("auto_mapping") or {}).get("parent_library")
    if origin not in (None, here := plain_class(upper.model).__module__):
        raise AdapterError(f"the adapter {folder} was made for another type of model: {origin}, not {here}")
    _, layer = _lora_layers(upper.model)[0]
    for key, name, here in (
        ("r", "lora.r", layer.r[NAME]),
        ("lora_alpha", "lora.alpha", layer.lora_alpha[NAME]),
    ):
        if facts.get(key) != here:
            raise AdapterError(
                f"the adapter {folder} has `{key}` {facts.get(key)}, `{name}` is {here}; set it so"
            )
    refuse_variants(facts, folder)


def _summary(names: Iterable[str], pretrained: Pretrained) -> str:
    """``q_proj, v_proj of layers 2, 3``."""
    layers, targets = set(), set()
    for name in names:
        number, _, rest = name.removeprefix(f"{pretrained.family.layers}.").partition(".")
        layers.add(number)
        targets.add(rest.partition(".lora_")[0].rpartition(".")[2])
    in_order = sorted(layers, key=lambda number: (len(number), number))
    return f"{', '.join(sorted(targets))} of layers {', '.join(in_order)}"


def _first(names: list[str]) -> str:
    if not names:
        return "none"
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
