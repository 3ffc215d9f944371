"""Pickles of foreign depots, read as plain data: containers, numbers, strings and arrays of these.

A pickle is a program, so there are two guards. Its instructions are checked first, so that refusals come
before anything runs, and memory stays in proportion to the file. And the few names that arrays refer to lead
to classes of this module, never to numpy or anything else that could act.
"""

from __future__ import annotations

import io
import pickle  # noqa: S403
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from legorec.files.disk import save_bytes

MAX_BYTES = 4 << 30
# How many values arrays may hold beyond one per byte: nothing else bounds an array of empty rows.
MAX_EMPTY = 1 << 20

# The number of bytes after an instruction, for those that picklers since protocol 2 write for plain data.
_FIXED = dict.fromkeys(b"N)]}(tlaesud012R\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94b", 0)
_FIXED |= dict(zip(b"KMJGhjq\x80\x95", (1, 2, 4, 8, 1, 4, 1, 1, 8), strict=True))
# The number of bytes of a length, which is followed by that many bytes of data.
_COUNTED = dict(zip(b"X\x8c\x8dCB\x8e\x96\x8a\x8b", (4, 1, 8, 1, 4, 8, 8, 1, 4), strict=True))
_STOP, _LONG_BINPUT, _GLOBAL = b".rc"
_SIZES = [_FIXED.get(code, -1) for code in range(256)]
_INSTRUCTIONS = {ord(each.code): f"the instruction {each.name}" for each in pickletools.opcodes}


def load_pickle(path: Path) -> Any:
    """The value of a pickle file; an array in it comes back as (nested) lists.

    Raises:
        ValueError: it is too large or cut short, or refers to anything but plain data; names the file.
    """
    return loads(_read(path), str(path))


def load_npy(path: Path) -> Any:
    """The value of a ``.npy`` file that holds one pickled object.

    Raises:
        ValueError: it is not such a file, or as for ``load_pickle``.
    """
    data = io.BytesIO(_read(path))
    try:
        first = np.lib.format.read_magic(data) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(data)
    except ValueError as problem:
        raise ValueError(f"{path}: not a readable .npy file ({problem})") from None
    value = loads(data.read(), str(path)) if dtype == np.dtype(object) and shape == () else None
    if not isinstance(value, _Array) or len(value) != 1:
        raise ValueError(f"{path}: must hold one object, a mapping of columns; it holds {shape} of {dtype}")
    return value[0]


def dump_pickle(value: Any, path: Path) -> None:
    """Write containers, numbers and strings as a pickle; reading it needs no other code."""
    save_bytes(path, pickle.dumps(value, protocol=4))


def loads(data: bytes, label: str) -> Any:
    """The value of pickled bytes.

    Args:
        label: a name for the bytes, for messages.
    Raises:
        ValueError: as for ``load_pickle``.
    """
    try:
        _walk(data)
        return _Unpickler(data).load()
    except _RefusedError as problem:
        raise ValueError(f"{label}: {problem}") from None
    except Exception as problem:  # a damaged pickle may raise anything
        raise ValueError(f"{label}: not a readable pickle ({type(problem).__name__}: {problem})") from None


class _RefusedError(ValueError):
    """The pickle requests something that is not allowed."""


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path}: must have at most {MAX_BYTES:,} bytes, got {size:,}; split the depot")
    return path.read_bytes()


def _walk(data: bytes) -> None:
    """Go through the instructions without running them.

    ``LONG_BINPUT`` may name any place in a table, which Python then makes that long: 64 GB for five bytes. In
    a real pickle, places are below its number of bytes.
    """
    place, sizes = 0, _SIZES
    while True:
        code = data[place]
        size = sizes[code]
        if size >= 0:
            place += 1 + size
        elif code in _COUNTED:
            begin = place + 1 + _COUNTED[code]
            place = begin + int.from_bytes(data[place + 1 : begin], "little")
        elif code == _LONG_BINPUT:
            if int.from_bytes(data[place + 1 : place + 5], "little") > len(data):
                raise _RefusedError("the pickle is damaged: it would take more memory than it has bytes")
            place += 5
        elif code == _GLOBAL:
            middle = data.index(b"\n", place)
            end = data.index(b"\n", middle + 1)
            _named(data[place + 1 : middle].decode(), data[middle + 1 : end].decode())
            place = end + 1
        elif code == _STOP:
            return
        else:
            raise _RefusedError(
                "a depot's pickle must hold plain data, written since protocol 2, got "
                f"{_INSTRUCTIONS.get(code, f'the byte {code:#04x}')}; write it again where it comes from"
            )


class _Array(list):
    """An array: the list of its values, or of its rows, as soon as its state is known.

    Each load has its own class, which counts how many values its arrays may still have: many small
    instructions can refer to one long list of values, and each array copies it.
    """

    __slots__ = ()
    left: list[int]

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, values = state
        if not isinstance(dtype, _Dtype) or len(shape) > 2 or any(type(each) is not int for each in shape):
            raise _RefusedError(f"an array must have one or two dimensions, got the shape {shape}")
        rows, width = (*shape, 1, 1)[:2]
        self.left[0] -= rows * width + (rows if len(shape) == 2 else 0)
        if rows < 0 or width < 0 or self.left[0] < 0:
            raise _RefusedError("the pickle is damaged: its arrays have more values than it has bytes")
        if dtype.code != "O8":
            numbers = np.frombuffer(values, dtype.numpy()) if values else np.empty(0)
            # The values of an object array are pickled row by row, whatever its order in memory.
            values = (numbers.reshape(width, rows).T.reshape(-1) if fortran else numbers).tolist()
        if type(values) is not list or len(values) != rows * width:
            raise _RefusedError(f"the pickle is damaged: an array of shape {shape} lacks values")
        whole = len(shape) < 2
        self[:] = values if whole else [values[row * width : (row + 1) * width] for row in range(rows)]


class _Dtype:
    """The type of an array's values: objects, or numbers of some width."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"O8|b1|[iu][1248]|f[248]", code):
            raise _RefusedError(f"an array must hold numbers or plain objects, got the type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("not the state of a type")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """As in numpy."""
        return np.dtype(self.order + self.code)


class _Reconstruct:
    """The function that a pickle calls to begin an array."""

    def __new__(cls, kind: type, shape: object, code: object) -> Any:
        if not issubclass(kind, _Array):
            raise ValueError("not an array")
        return kind()

    def __setstate__(self, state: object) -> None:
        """Never called on an instance: without it a pickle could write attributes of the class."""


class _Scalar:
    """A numpy number, as a Python number."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> Any:
        if not isinstance(dtype, _Dtype) or dtype.code == "O8":
            raise ValueError("not a number")
        (value,) = np.frombuffer(data, dtype.numpy()).tolist()
        return value

    def __setstate__(self, state: object) -> None:
        """As in ``_Reconstruct``."""


_NAMES: dict[str, type] = {"numpy.ndarray": _Array, "numpy.dtype": _Dtype}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _NAMES |= {f"{_core}._reconstruct": _Reconstruct, f"{_core}.scalar": _Scalar}


def _named(module: str, name: str) -> type:
    found = _NAMES.get(f"{module}.{name}")
    if found is None:
        raise _RefusedError(
            f"a depot's pickle must hold containers, numbers, strings and arrays, got the name "
            f"'{module}.{name}'; it is not the data of a depot, so open it with nothing that runs pickles"
        )
    return found


class _Unpickler(pickle.Unpickler):
    """Finds only the names above."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._array = type("_Array", (_Array,), {"__slots__": (), "left": [len(data) + MAX_EMPTY]})

    def find_class(self, module: str, name: str) -> Any:
        """One of this module's own classes, or a refusal."""
        found = _named(module, name)
        return self._array if found is _Array else found
