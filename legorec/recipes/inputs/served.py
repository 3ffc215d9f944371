"""A model of any family with its data, to be asked for scores and no longer trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from legorec.data.evaluation import Impressions
from legorec.engine.rank import Scorer
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.recommended import Item
from legorec.recipes.outputs.session import Session
from legorec.recipes.run import function_at
from legorec.scorers.top_items import TopItems
from legorec.settings.families import FAMILIES

if TYPE_CHECKING:
    from legorec.settings import Settings


class Request(NamedTuple):
    """One question to a service."""

    history: np.ndarray  # (H,) item rows, oldest first
    candidates: np.ndarray  # (K,) item rows
    user: int  # row of the user table
    span: int = 0  # the stored history that ``history`` is, where marks are read


class Ways(NamedTuple):
    """How a family answers single requests: each is timed."""

    answers: Mapping[str, Callable[[Request], np.ndarray]]  # by its name in the figures
    figures: Mapping[str, Any]  # what else is reported
    said: str  # of it, behind the table


class Trained(Protocol):
    """What ``legorec.load`` gives."""

    def score(
        self, history: Sequence[Item], candidates: Sequence[Item], *, user: str | None = None
    ) -> np.ndarray: ...

    def recommend(
        self, histories: Any, k: int = 10, *, user: str | None = None, include_history: bool = False
    ) -> Any: ...


@dataclass(frozen=True)
class Served:
    """A model that is built, and what can be asked of it once it has weights.

    Args:
        load: run folder and epoch (None: the best, or ``exp.load_epoch``) -> the checkpoint, whose weights
            are then in the model.
        scorer: some impressions and their place, for messages -> a score for each candidate.
        top: users, their histories (rows of users and of spans) and k -> the best items of the store.
        ways: how requests are answered, prepared as a service would be.
        trained: the object that ``legorec.load`` gives.
        inputs: digests of all that the model reads.
        said: lines that the log begins with.
    """

    model: nn.Module
    data: Data
    load: Callable[[Path, int | None], Path]
    scorer: Callable[[Impressions, str], Scorer]
    top: Callable[[np.ndarray, np.ndarray, int, Session], TopItems]
    ways: Callable[[Session], Ways]
    trained: Callable[[], Any]
    inputs: Callable[[], Mapping[str, str]] = dict
    said: Sequence[str] = ()


def served(settings: Settings, device: torch.device, splits: Iterable[str] = ()) -> Served:
    """The model that the settings name, in evaluation mode, with the weights that it has untrained.

    Raises:
        ValueError: something the user can mend in the settings, the store or a checkpoint.
    """
    family = FAMILIES[settings.model.family]
    if not family.served:
        raise ValueError(f"a model of the family '{family.name}' is trained and measured, and no more")
    found: Served = function_at(family.served)(settings, device, list(splits))
    found.model.eval()
    return found
