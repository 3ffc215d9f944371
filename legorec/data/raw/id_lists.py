"""Lists of raw ids in files of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.raw.lines import InputError, blocks, raw_file
from legorec.data.raw.table_files import read_parquet


def read_ids(path: Path) -> pl.Series:
    """The ids of a file, as texts, in its order: one a line of a text, the list of a ``.json``, the vector of
    a ``.npy``, or the only column of a ``.parquet``.

    Raises:
        InputError: it is missing or malformed, holds no id, or one twice.
    """
    file, ending = raw_file(path), path.suffix.lower()
    if ending == ".json":
        ids = _texts(_from_json(path), path)
    elif ending == ".npy":
        ids = _texts(_from_numpy(path), path)
    elif ending == ".parquet":
        ids = _from_parquet(path)
    else:
        lines = [line.strip() for _, text in blocks(file) for line in text.split("\n")]
        ids = pl.Series("id", [line for line in lines if line], dtype=pl.String)
    if not len(ids):
        raise InputError(f"{path}: it must hold ids, one a line, and holds none")
    if twice := len(ids) - ids.n_unique():
        example = ids.filter(ids.is_duplicated())[0]
        raise InputError(f"{path}: an id must stand there once; {twice:,} are there again, e.g. '{example}'")
    return ids


def _from_json(path: Path) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path}: not readable JSON ({problem})") from None
    if not isinstance(found, list):
        raise InputError(f"{path}: it must be a list of ids, got a {type(found).__name__}")
    return found


def _from_numpy(path: Path) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, TypeError, EOFError, OSError):
        raise InputError(f"{path}: no plain .npy vector (a pickled one is refused)") from None
    if getattr(found, "ndim", None) != 1:
        raise InputError(f"{path}: it must hold a vector of ids, got {getattr(found, 'shape', type(found))}")
    return found.tolist()


def _from_parquet(path: Path) -> pl.Series:
    table = read_parquet(raw_file(path), path)
    if table.width != 1 or not (table.dtypes[0].is_integer() or table.dtypes[0] == pl.String):
        columns = ", ".join(f"{name} ({kind})" for name, kind in table.schema.items()) or "none"
        raise InputError(f"{path}: it must have one column of texts or whole numbers, got {columns}")
    ids = table.to_series().cast(pl.String).rename("id")
    if ids.null_count():
        raise InputError(f"{path}: {ids.null_count():,} of {len(ids):,} ids are missing")
    return ids


def _texts(values: list[Any], path: Path) -> pl.Series:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InputError(f"{path}: an id must be a text or a whole number, got {value!r}")
    return pl.Series("id", [str(value).strip() for value in values], dtype=pl.String)
