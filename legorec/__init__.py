"""legorec: recommenders put together from bricks.

Bricks are imported from their own modules and need torch alone:
``from legorec.user_encoders.nrms import NRMSUserEncoder``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from legorec.recipes.load import TrainedRecommender

__version__ = "0.1.0"
__all__ = ["load"]


def load(
    run_folder: str | Path,
    device: str = "auto",
    epoch: int | None = None,
    *,
    store: str | Path | None = None,
    paths: Mapping[str, str | Path] | None = None,
    allow: Sequence[str] = (),
) -> TrainedRecommender:
    """The trained model of a run folder, ready to score and recommend; see ``legorec.recipes.load``."""
    from legorec.recipes.load import load as load_run

    return load_run(run_folder, device, epoch, store=store, paths=paths, allow=allow)
