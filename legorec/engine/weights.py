"""Load the weights of a checkpoint into a model, after checking what they were learned from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from legorec.engine import checkpoint
from legorec.engine.optim import learned_state
from legorec.engine.run_folder import best_checkpoint

LANGUAGE_MODEL = "language model"  # its name among the inputs of a checkpoint


def load_best(
    run: Path, model: nn.Module, inputs: Mapping[str, str], store: str, epoch: int | None = None
) -> Path:
    """Load the weights of a run's best epoch into a model of the same make; returns their checkpoint.

    Args:
        epoch: another one that is kept.
        inputs: the digests that it must have been trained with.
        store: where the data is, for messages.
    Raises:
        ValueError: the folder is no trained run or does not keep the epoch, or inputs or weights differ.
    """
    path = best_checkpoint(run, epoch)
    saved = checkpoint.load(path)
    check_inputs(saved.state, inputs, path, store)
    load_weights(model, saved, path)
    return path


def check_inputs(saved: Mapping[str, Any], now: Mapping[str, str], path: Path, store: str) -> None:
    """Check that weights were learned from the inputs at hand.

    Args:
        saved: the state of a checkpoint.
        now: the digests that it must agree with, some or all of those that training notes.
        store: where the data is, for the message.
    """
    for name, digest in now.items():
        if saved["inputs"].get(name) != digest:
            where = f"another store than {store}"
            if name.startswith("embed/"):
                where = "another table"
            elif name == LANGUAGE_MODEL:
                where = "another checkpoint of the language model"
            raise ValueError(
                f"{path} was trained with {where}, or it has changed since: '{name}' differs; train anew "
                "(--overwrite true) or name what it was trained with"
            )


def load_weights(
    model: nn.Module, saved: checkpoint.Checkpoint, path: Path, left_out: tuple[str, ...] = ()
) -> None:
    """Load saved weights into a model, strictly: every trainable one, of the same shape, and no other.

    Args:
        left_out: what the names of weights begin with that keep the values they have.
    Raises:
        ValueError: naming the first that is missing, unexpected or of another shape.
    """
    weights = saved.tensors["weights"]
    learned = learned_state(model)
    wanted = {name: value for name, value in learned.items() if not name.startswith(left_out)}
    for name in sorted(set(wanted) ^ set(weights)):
        where = "does not hold" if name in wanted else "holds, and the model does not,"
        raise ValueError(f"{path} {where} '{name}'; it was trained with another model or other settings")
    with torch.no_grad():
        for name, value in weights.items():
            if wanted[name].shape != value.shape:
                raise ValueError(
                    f"{path}: '{name}' is {tuple(value.shape)}, the model wants {tuple(wanted[name].shape)}; "
                    "it was trained with other settings or another store"
                )
            wanted[name].copy_(value)
