"""The layout of a model whose type has no row in ``legorec.lm.model_types``, read off one pass through it."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from legorec.lm.model_types import Family, PassThrough, part

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Queries and values, or what holds them together with others, in the words of different models.
TARGETS = (
    *(("q_proj", "v_proj"), ("query", "value"), ("q_lin", "v_lin"), ("query_proj", "value_proj")),
    *(("q_b_proj", "kv_b_proj"), ("qkv_proj",), ("query_key_value",), ("Wqkv",), ("c_attn",), ("q", "v")),
)
LENGTH = 6


def layout_of(model: PreTrainedModel) -> Family:
    """The layout that a whole model appears to have; whether its cut is exact is not asked here.

    Args:
        model: with weights, in evaluation mode; it is of no more use afterwards.

    Raises:
        ValueError: it has no list of layers, or cannot be run on token ids.
    """
    config = model.config
    path = _list_of_layers(model, config.num_hidden_layers)
    layers: Any = part(model, path)
    ids = torch.arange(LENGTH).expand(2, -1) + config.vocab_size // 2
    ids = torch.stack([ids[0], ids[1].where(torch.arange(LENGTH) < LENGTH - 1, ids[1] - LENGTH)])
    linear, fused = _linear(layers)
    below, above, outputs, states = _record(model, path, ids)
    table = _name_of(model, model.get_input_embeddings())
    around = f"{path}.".startswith(f"{table.rpartition('.')[0]}.") or "." not in table
    holders = () if around else tuple(name for name in below if f"{table}.".startswith(f"{name}."))
    others = [name for name in below if not f"{table}.".startswith(f"{name}.")]
    targets = next((names for names in TARGETS if set(names) <= linear), ())
    return Family(
        config.model_type,
        path,
        after=tuple(above),
        embeddings=holders,
        positions=tuple(name for name in others if isinstance(part(model, name), nn.Embedding)),
        before=tuple(name for name in others if not isinstance(part(model, name), nn.Embedding)),
        positions_behind_padding=bool(holders) and _positions_behind_padding(model, ids[:1], states[:1]),
        causal=bool(torch.isclose(states[0, :-1], states[1, :-1], atol=1e-5).all()),
        targets=targets,
        fused=bool(targets) and set(targets) <= fused,
        layer_outputs=outputs,
        scale="embedding_multiplier" if hasattr(model, "embedding_multiplier") else "",
        own_masks=True,
        short_rows=bool(getattr(model, "_supports_attention_backend", False)),
    )


def row_of(family: Family) -> str:
    """The row of ``legorec.lm.model_types`` that says the same."""
    said = [repr(family.model_type), repr(family.layers)]
    for each in fields(family)[2:]:
        value = getattr(family, each.name)
        if value != each.default:
            said.append(f"{each.name}={value!r}")
    return f"Family({', '.join(said)})"


def run(model: Any, **inputs: Tensor) -> Tensor:
    """The final states (B, L, E), without a cache of keys and values."""
    names = signature(model.forward).parameters
    cache = {"use_cache": False} if "use_cache" in names or "kwargs" in names else {}
    states: Tensor = model(**inputs, **cache).last_hidden_state
    return states


def _list_of_layers(model: nn.Module, number: int) -> str:
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{path}.") for path in found)
        if isinstance(module, nn.ModuleList) and len(module) == number and not inside:
            found.append(name)
    if len(found) != 1:
        there = "none" if not found else ", ".join(found)
        raise ValueError(f"it must have one list of its {number} layers, it has {there}")
    return found[0]


def _record(model: Any, path: str, ids_BL: Tensor) -> tuple[list[str], list[str], int, Tensor]:
    """The outermost modules that states go through below and above the layers, and what a layer returns."""
    layers: Any = part(model, path)
    # Some models have narrower token embeddings. Rotary positions, which stay, are of another width.
    widths = (model.config.hidden_size, model.get_input_embeddings().embedding_dim)
    below: list[str] = []
    above: list[str] = []
    now, outputs, hooks = [below], [0], []
    between = range(1, len(layers) - 1)  # they would show nothing more
    for place in between:
        layers[place] = PassThrough(layers[place])

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
                return
            if output.shape[-1] in widths and output.shape[-2] == ids_BL.shape[1]:
                # In place of the modules inside it.
                now[0][:] = [each for each in now[0] if not each.startswith(f"{name}.")]
                now[0].append(name)

        return hook

    def begin(module: nn.Module, inputs: Any) -> None:
        now[0] = []

    def returned(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs[0] = len(output) if isinstance(output, tuple) else 0
        for place in between:
            layers[place].outputs = outputs[0]

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        now[0] = above

    for name, module in model.named_modules():
        within = f"{name}.".startswith(f"{path}.") or f"{path}.".startswith(f"{name}.") or not name
        if not within and not isinstance(module, nn.ModuleList):
            hooks.append(module.register_forward_hook(note(name)))
    hooks.append(layers[0].register_forward_pre_hook(begin))
    hooks.append(layers[0].register_forward_hook(returned))
    hooks.append(layers[-1].register_forward_hook(end))
    try:
        with torch.no_grad():
            states = run(model, input_ids=ids_BL)
    finally:
        for each in hooks:
            each.remove()
    return below, above, outputs[0], states


def _positions_behind_padding(model: Any, ids_BL: Tensor, states_BLE: Tensor) -> bool:
    padding = model.config.pad_token_id
    if padding is None:
        return False
    positions = torch.arange(ids_BL.shape[1]).unsqueeze(0) + padding + 1
    try:
        with torch.no_grad():
            shifted = run(model, input_ids=ids_BL, position_ids=positions)
            plain = run(model, input_ids=ids_BL, position_ids=positions - padding - 1)
    except (IndexError, TypeError):  # no positions of so many, or none at all
        return False
    return bool((shifted - states_BLE).abs().max() < (plain - states_BLE).abs().max())


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def _linear(layers: nn.ModuleList) -> tuple[set[str], set[str]]:
    """The last part of the names of the linear layers, and of those stored as (input, output)."""
    from transformers.pytorch_utils import Conv1D

    named = [(name.rpartition(".")[2], module) for name, module in layers.named_modules() if name and module]
    linear = {name for name, module in named if isinstance(module, nn.Linear | Conv1D)}
    return linear, {name for name, module in named if isinstance(module, Conv1D)}
