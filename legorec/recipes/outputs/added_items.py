"""Items that were added to a recommender, as a file of its saved model: their ids and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from legorec.data.ragged import Ragged
from legorec.data.strings import Strings
from legorec.files.sealed import load_sealed, save_sealed

ADDED = "added.safetensors"


def save_added(path: Path, ids: Sequence[str], vectors_AD: Tensor) -> None:
    """Write the items; their fields, which made the vectors, are not kept.

    Raises:
        WriteError: the disk is full, or may not be written.
    """
    packed = Strings.pack(pl.Series(ids, dtype=pl.String)).packed
    tensors = {
        "vectors": vectors_AD.detach().cpu().contiguous(),
        "ids": torch.from_numpy(packed.values.copy()),
        "offsets": torch.from_numpy(packed.offsets.astype(np.int64)),
    }
    save_sealed(tensors, path, {"format": "pt"})


def read_added(path: Path) -> tuple[list[str], Tensor]:
    """Ids and vectors (A, D) of a file that ``save_added`` wrote."""
    held = load_sealed(path)
    ids = Strings(Ragged(held["ids"].numpy(), held["offsets"].numpy()))
    return list(ids), held["vectors"].clone()
