"""Arrays on their way into a file of a store; they may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from legorec.data.ragged import Ragged
from legorec.files.disk import flush, writing

BLOCK = 1 << 20  # values in memory at a time
# Names in safetensors, in the order in which its library writes the arrays of a file: widest first.
_NAMES = {"int64": "I64", "float32": "F32", "int32": "I32", "uint8": "U8"}


@dataclass(frozen=True)
class Blocks:
    """A flat array of known length whose values come block by block, once."""

    dtype: np.dtype
    length: int
    blocks: Iterable[np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)


class GrowingArray:
    """A flat array that grows at its end, in a file of its own."""

    def __init__(self, path: Path, dtype: type) -> None:
        self.path, self.dtype, self._length = path, np.dtype(dtype), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)

    def __len__(self) -> int:
        return self._length

    def append(self, values: np.ndarray) -> None:
        """Append values."""
        with (
            writing(self.path, len(values) * self.dtype.itemsize),
            open(self.path, "ab", buffering=0) as file,
        ):
            _write(file, values.astype(self.dtype, copy=False))
        self._length += len(values)

    def blocks(self) -> Iterator[np.ndarray]:
        """All values, block by block; read and not mapped, so that none of them stays in memory."""
        with open(self.path, "rb") as file:
            while block := file.read(BLOCK * self.dtype.itemsize):
                yield np.frombuffer(block, self.dtype)

    def mapped(self) -> np.ndarray:
        """All values, mapped, for looking some of them up."""
        return np.memmap(self.path, self.dtype, "r") if len(self) else np.empty(0, self.dtype)

    def whole(self) -> Blocks:
        """The array in the form that ``write_arrays`` takes."""
        return Blocks(self.dtype, len(self), self.blocks())


class GrowingRagged:
    """Rows of different lengths that grow at their end, in two files."""

    def __init__(self, path: Path, dtype: type) -> None:
        self.values = GrowingArray(path.with_name(f"{path.name}.values"), dtype)
        self.offsets = GrowingArray(path.with_name(f"{path.name}.offsets"), np.int64)
        self.offsets.append(np.zeros(1, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def append(self, rows: Ragged) -> None:
        """Append rows."""
        self.offsets.append(rows.offsets[1:] + len(self.values))
        self.values.append(rows.values)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray | Blocks]) -> None:
    """Write arrays into one safetensors file and flush it to the disk.

    The bytes are those of ``files.save_arrays``, which needs all arrays in memory.

    Raises:
        WriteError: the disk is full or not writable.
    """
    widest_first = list(_NAMES)
    order = sorted(arrays, key=lambda name: (widest_first.index(arrays[name].dtype.name), name))
    facts, stop = {}, 0
    for name in order:
        array = arrays[name]
        start, stop = stop, stop + int(np.prod(array.shape)) * array.dtype.itemsize
        kind = _NAMES[array.dtype.name]
        facts[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, stop]}
    header = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    header = len(header).to_bytes(8, "little") + header
    with writing(path, len(header) + stop):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            _write(file, np.frombuffer(header, dtype=np.uint8))
            for name in order:
                array = arrays[name]
                for block in array.blocks if isinstance(array, Blocks) else [array]:
                    _write(file, block.astype(array.dtype, copy=False))
            assert file.tell() == len(header) + stop, f"{path}: blocks that are too few or too many"
        flush(path)


def _write(file: FileIO, values: np.ndarray) -> None:
    little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    left = little_endian.reshape(-1).view(np.uint8).data
    while left:
        left = left[file.write(left) :]
