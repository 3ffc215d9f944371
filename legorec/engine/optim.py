"""Optimizer, its groups and its learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Schedule = Literal["constant", "linear", "cosine"]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that training changes, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def learned_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a checkpoint: trainable parameters, and buffers that are part of a module's state."""
    kept = model.state_dict().keys()
    buffers = {name: value for name, value in model.named_buffers() if name in kept}
    return dict(trainable(model)) | buffers


def pretrained(model: nn.Module) -> set[int]:
    """Identities of parameters inside modules that say ``pretrained = True``."""
    return {
        id(parameter)
        for module in model.modules()
        if getattr(module, "pretrained", False) is True
        for parameter in module.parameters()
    }


def tuned(model: nn.Module) -> list[nn.Parameter]:
    """The pretrained parameters that training changes."""
    given = pretrained(model)
    return [value for value in trainable(model).values() if id(value) in given]


def own_rates(model: nn.Module) -> dict[int, float]:
    """Learning rates by the identities of parameters, inside modules that have a ``learning_rate``."""
    return {
        id(parameter): rate
        for module in model.modules()
        if isinstance(rate := getattr(module, "learning_rate", None), float)
        for parameter in module.parameters()
    }


def make_optimizer(
    model: nn.Module, *, lr: float, item_lr: float | None = None, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW (Adam when ``weight_decay`` is 0); ``item_lr`` is for pretrained weights, ``lr`` for the rest.

    A module with a ``learning_rate`` that is not None has that one in the place of ``lr``.

    Raises:
        ValueError: ``item_lr`` is given and nothing pretrained is trained, or nothing is trained at all.
    """
    parameters = trainable(model)
    if not parameters:
        raise ValueError(
            "the model has no trainable parameter; use mode `test` for a model that is not trained"
        )
    given = tuned(model)
    known = set(map(id, given))
    fresh = [value for value in parameters.values() if id(value) not in known]
    if item_lr is not None and not given:
        raise ValueError(
            f"`item_lr` ({item_lr:g}) has nothing to act on: no pretrained item weights (given token vectors "
            "that are not frozen, a language model) are trained; remove it or use `lr`"
        )
    own = own_rates(model)
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for is_given, some in ((False, fresh), (True, given)):
        for value in some:
            # ``item_lr`` is for pretrained weights wherever they lie.
            rate = item_lr if is_given and item_lr is not None else own.get(id(value), lr)
            groups.setdefault((is_given, rate), []).append(value)
    made = [{"params": some, "lr": rate, "base_lr": rate} for (_, rate), some in groups.items()]
    fused = all(value.device.type in ("cpu", "cuda") for value in parameters.values())
    return torch.optim.AdamW(made, weight_decay=weight_decay, fused=fused)


def set_learning_rate(
    optimizer: torch.optim.Optimizer,
    step: int,
    warmup: int = 0,
    schedule: Schedule = "constant",
    num_steps: int | None = None,
) -> None:
    """The rate of optimizer step ``step``, counted from 0: a linear warm-up, then the schedule.

    ``linear`` and ``cosine`` fall from the full rate after the warm-up to 0 after ``num_steps`` steps.
    """
    share = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    if num_steps is not None and step >= warmup:
        done = min(1.0, (step - warmup) / max(1, num_steps - warmup))
        share *= {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}[
            schedule
        ]
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share


def state_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, ``parameter/entry``."""
    names = {id(value): name for name, value in model.named_parameters()}
    return {
        f"{names[id(parameter)]}/{entry}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def load_state_tensors(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put saved state back, on the devices of the parameters.

    Raises:
        ValueError: it holds state of a parameter that is not trained here, or of another shape.
    """
    parameters = trainable(model)
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, entry = key.rsplit("/", 1)
        states.setdefault(name, {})[entry] = value
    for name, state in states.items():
        if name not in parameters:
            raise ValueError(f"the saved optimizer state is of '{name}', which is not trained in this model")
        parameter = parameters[name]
        for entry, value in state.items():
            if value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"the saved optimizer state '{name}/{entry}' is {tuple(value.shape)}, the parameter is "
                    f"{tuple(parameter.shape)}"
                )
        # The fused optimizer wants its step counts beside the weights, in float32. Moments have the dtype of
        # the weights, which once was that of the layers.
        optimizer.state[parameter] = {
            entry: value.to(parameter.device, parameter.dtype if value.dim() else value.dtype)
            for entry, value in state.items()
        }


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Gradients of the parameters that have one."""
    return [value.grad for value in parameters if value.grad is not None]
