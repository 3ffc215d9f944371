"""Text columns: utf-8 bytes and offsets, decoded on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged, offsets_of


class Strings(Sequence[str]):
    """Strings over mapped bytes; ``[i]`` decodes one, ``[a:b]`` and ``take(rows)`` a list of them."""

    def __init__(self, packed: Ragged) -> None:
        self.packed = packed

    @classmethod
    def pack(cls, column: pl.Series) -> Strings:
        """Pack a polars column; a missing value becomes the empty string."""
        column = column.cast(pl.String).fill_null("")
        lengths = column.str.len_bytes().to_numpy().astype(np.int64)
        joined = column.str.join("").item() if len(column) else ""
        return cls(Ragged(np.frombuffer(joined.encode(), dtype=np.uint8), offsets_of(lengths)))

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        return self.packed[int(row)].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.take(np.arange(len(self))))

    def take(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The strings of some rows."""
        chosen = self.packed.take(rows)
        data, offsets = chosen.values.tobytes(), chosen.offsets.tolist()
        return [data[start:stop].decode() for start, stop in zip(offsets, offsets[1:], strict=False)]

    def series(self, name: str = "id") -> pl.Series:
        """All strings as a polars column."""
        return pl.Series(name, list(self), dtype=pl.String)
