"""Read the semantic codes that the settings name, and check them against the items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from legorec.batch import ItemCodes
from legorec.data.vectors import Rows, sizes_stated_in
from legorec.files.sealed import load_sealed

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def read_codes(path: Path, data: Data) -> ItemCodes:
    """Codes (num_items, levels) from a ``.safetensors`` file, such as ``process/embed.py codes`` writes.

    A file that does not say how many codes each level has is taken to have those that occur.

    Raises:
        ValueError: the file is missing or damaged, or its rows are not those of this store's items.
    """
    if not path.is_file():
        raise ValueError(f"embed.codes: {path} does not exist; write it with process/embed.py codes")
    try:
        tensors = load_sealed(path)
    except ValueError as error:
        raise ValueError(f"embed.codes: {error}") from error
    if len(tensors) != 1:
        raise ValueError(f"embed.codes: {path} must hold one tensor, it holds {len(tensors)}")
    (values,) = tensors.values()
    if values.ndim != 2 or values.dtype not in WHOLE or not values.numel():
        raise ValueError(
            f"embed.codes: {path} must hold a matrix of whole numbers, a row of levels for each item; it "
            f"holds {tuple(values.shape)} of {values.dtype}"
        )
    values = values.to(torch.int64)
    if int(values.min()) < 0:
        raise ValueError(f"embed.codes: {path} must hold codes that count from 0, one is {int(values.min())}")
    stated = Rows.stated_in(path)
    if len(values) != data.num_items or (stated is not None and stated != Rows.of_items(data.store)):
        raise ValueError(
            f"embed.codes: {path} was made for other items than those of {data.store.path}; write it "
            "again with process/embed.py codes"
        )
    used = tuple((values.amax(0) + 1).tolist())
    sizes = sizes_stated_in(path) or used
    if len(sizes) != len(used) or any(size < least for size, least in zip(sizes, used, strict=True)):
        raise ValueError(
            f"embed.codes: {path} says that its levels have {_listed(sizes)} codes, those in it take "
            f"{_listed(used)}; write it again with process/embed.py codes"
        )
    return ItemCodes(values, sizes)


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
