"""Items that were added to a recommender, and a file of its saved model that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from legorec.data.ragged import Ragged
from legorec.data.strings import Strings
from legorec.files.sealed import load_sealed, save_sealed

ADDED = "added.safetensors"


@dataclass(frozen=True)
class AddedItems:
    """Items that are in no store; their texts and numbers, which made the vectors, are not kept.

    Args:
        ids: raw ids.
        vectors: (A, D)
        categories: of each item, by the name of a field, as they were given.
    """

    ids: Sequence[str]
    vectors: Tensor
    categories: Sequence[Mapping[str, Sequence[str]]]

    def __len__(self) -> int:
        return len(self.ids)

    def with_more(self, others: AddedItems) -> AddedItems:
        """These, and others after them."""
        vectors = torch.cat([self.vectors, others.vectors])
        return AddedItems([*self.ids, *others.ids], vectors, [*self.categories, *others.categories])

    def values_of(self, field: str) -> list[Sequence[str]]:
        """The categories of each item in one field."""
        return [each.get(field, ()) for each in self.categories]


def save_added(path: Path, added: AddedItems) -> None:
    """Write the items.

    Raises:
        WriteError: the disk is full, or may not be written.
    """
    packed = Strings.pack(pl.Series(added.ids, dtype=pl.String)).packed
    categories = json.dumps(list(added.categories), ensure_ascii=False).encode()
    tensors = {
        "vectors": added.vectors.detach().cpu().contiguous(),
        "ids": torch.from_numpy(packed.values.copy()),
        "offsets": torch.from_numpy(packed.offsets.astype(np.int64)),
        "categories": torch.frombuffer(bytearray(categories), dtype=torch.uint8),
    }
    save_sealed(tensors, path, {"format": "pt"})


def read_added(path: Path) -> AddedItems:
    """The items of a file that ``save_added`` wrote; those of an earlier version have no categories."""
    held = load_sealed(path)
    ids = list(Strings(Ragged(held["ids"].numpy(), held["offsets"].numpy())))
    given = held.get("categories")
    categories = [{} for _ in ids] if given is None else json.loads(given.numpy().tobytes())
    return AddedItems(ids, held["vectors"].clone(), categories)
