"""The lines that the log of a run begins with."""

from __future__ import annotations

import torch
from torch import nn

from legorec.engine.optim import trainable
from legorec.engine.task import Task
from legorec.recipes.outputs.session import Session


def num_trainable(model: nn.Module) -> int:
    """Parameters that training changes."""
    return sum(value.numel() for value in trainable(model).values())


def log_opening(session: Session, task: Task, device: torch.device) -> None:
    """Where the run is kept and computed, the size of its model, and what its task says of the data."""
    world = session.processes.world
    together = f", {world} processes" if world > 1 else ""
    size = num_trainable(task.model)
    session.log(f"{session.folder.path}  on {device}{together}, {size:,} trainable parameters")
    for line in task.said:
        session.log(line)
