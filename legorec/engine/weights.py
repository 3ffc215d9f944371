"""Load the weights of a checkpoint into a model, after checking what they were learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legorec.engine import checkpoint
from legorec.engine.optim import learned_state
from legorec.engine.run_folder import best_checkpoint

# Names among the inputs of a checkpoint: of the language model, and of the weights that training began with.
LANGUAGE_MODEL, STARTED = "language model", "starting weights"
TRAIN_ANEW = "train anew (--overwrite true) or name what it was trained with"


@dataclass(frozen=True)
class RowMatch:
    """Which row of a saved weight belongs to each row of a model's.

    Args:
        places: (n,) int64; -1 where there is none, and the row keeps the value that it has.
        num_saved: rows that the saved weight must have; None: any.
    """

    places: Tensor
    num_saved: int | None

    def take(self, weight: Tensor, saved: Tensor) -> None:
        """Copy the rows that are there; a flag stays set where either has it."""
        known = torch.nonzero(self.places >= 0).flatten()
        rows = saved[self.places[known]].to(weight.device, weight.dtype)
        known = known.to(weight.device)
        if weight.dtype == torch.bool:
            rows = rows | weight[known]
        weight.index_copy_(0, known, rows)


def load_best(
    run: Path,
    model: nn.Module,
    inputs: Mapping[str, str],
    store: str,
    epoch: int | None = None,
    way_out: Callable[[str], str] | None = None,
) -> Path:
    """Load the weights of a run's best epoch into a model of the same make; returns their checkpoint.

    Args:
        epoch: another one that is kept.
        inputs: the digests that it must have been trained with.
        store: where the data is, for messages.
        way_out: as for ``check_inputs``.
    Raises:
        ValueError: the folder is no trained run or does not keep the epoch, or inputs or weights differ.
    """
    path = best_checkpoint(run, epoch)
    saved = checkpoint.load(path)
    check_inputs(saved.state, inputs, path, store, way_out)
    load_weights(model, saved, path)
    return path


def check_inputs(
    saved: Mapping[str, Any],
    now: Mapping[str, str],
    path: Path,
    store: str,
    way_out: Callable[[str], str] | None = None,
) -> None:
    """Check that weights were learned from the inputs at hand.

    Args:
        saved: the state of a checkpoint.
        now: the digests that it must agree with, some or all of those that training notes.
        store: where the data is, for the message.
        way_out: what to do where an input of this name differs.
    Raises:
        ValueError: naming the first that differs.
    """
    for name, digest in now.items():
        if saved["inputs"].get(name) != digest:
            where = f"another store than {store}"
            if name.startswith("embed/"):
                where = "another table"
            elif name == LANGUAGE_MODEL:
                where = "another checkpoint of the language model"
            elif name == STARTED:
                where = "other weights to start from than those that `exp.init_from` leads to"
            raise ValueError(
                f"{path} was trained with {where}, or it has changed since: '{name}' differs; "
                f"{TRAIN_ANEW if way_out is None else way_out(name)}"
            )


def load_weights(
    model: nn.Module,
    saved: checkpoint.Checkpoint,
    path: Path,
    left_out: tuple[str, ...] = (),
    matches: Mapping[str, RowMatch] | None = None,
) -> None:
    """Load saved weights into a model, strictly: every trainable one, of the same shape, and no other.

    Args:
        left_out: what the names of weights begin with that keep the values they have.
        matches: of weights that may have other rows than the saved ones.
    Raises:
        ValueError: naming the first that is missing, unexpected or of another shape.
    """
    weights = saved.tensors["weights"]
    learned = learned_state(model)
    wanted = {name: value for name, value in learned.items() if not name.startswith(left_out)}
    for name in sorted(set(wanted) ^ set(weights)):
        where = "does not hold" if name in wanted else "holds, and the model does not,"
        raise ValueError(f"{path} {where} '{name}'; it was trained with another model or other settings")
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    for name, match in (matches or {}).items():
        if name in shapes:
            rows = len(weights[name]) if match.num_saved is None else match.num_saved
            shapes[name] = (rows, *shapes[name][1:])
    for name, value in weights.items():
        if shapes[name] != tuple(value.shape):
            raise ValueError(
                f"{path}: '{name}' is {tuple(value.shape)}, the model wants {shapes[name]}; "
                "it was trained with other settings or another store"
            )
    with torch.no_grad():
        for name, value in weights.items():
            if matches is not None and name in matches:
                matches[name].take(wanted[name], value)
            else:
                wanted[name].copy_(value)
