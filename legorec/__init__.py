"""legorec: recommenders put together from bricks.

``__all__`` is what is public, see ``docs/python.md``; each name is imported when it is first used.
Bricks are imported from their own modules and need torch alone:
``from legorec.user_encoders.nrms import NRMSUserEncoder``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legorec.data.raw.frames import Store
    from legorec.recipes.runs import Run, evaluate, train
    from legorec.recipes.trained_recommender import TrainedRecommender

__version__ = "0.1.0"
__all__ = ["Run", "Store", "evaluate", "load", "train"]
_MODULES = {
    "Run": "legorec.recipes.runs",
    "Store": "legorec.data.raw.frames",
    "evaluate": "legorec.recipes.runs",
    "train": "legorec.recipes.runs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'legorec' has no attribute {name!r}; public are {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    run_folder: str | Path,
    device: str = "auto",
    epoch: int | None = None,
    *,
    store: str | Path | None = None,
    paths: Mapping[str, str | Path] | None = None,
    allow: Sequence[str] = (),
    revision: str | None = None,
) -> TrainedRecommender:
    """The model of a run, or one that was saved, ready to recommend; see ``legorec.recipes.load``."""
    from legorec.recipes.load import load as load_run

    return load_run(run_folder, device, epoch, store=store, paths=paths, allow=allow, revision=revision)
