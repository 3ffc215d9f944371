"""R11: pickles of foreign depots are plain data, or are refused by name before anything runs."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections import OrderedDict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legorec.data import safe_pickle
from legorec.data.safe_pickle import dump_pickle, load_npy, load_pickle, loads

PLAIN = {
    "a": [1, -1, 300, 70_000, 2**70, 0.5, "é\n", "", None, True, False, (), (1,), (1, 2, 3, 4), b"b"],
    "": {},
}


def objects(*rows: Any) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_comes_back(protocol: int) -> None:
    value = PLAIN if protocol > 2 else {"a": PLAIN["a"][:-1]}  # bytes need a function before protocol 3
    assert loads(pickle.dumps(value, protocol=protocol), "x") == value


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize(
    "array",
    [
        objects([1, 2], [], [3]),
        np.array([[1, 2], [3, 4]], dtype=object),
        np.asfortranarray(np.array([[1, 2], [3, 4], [5, 6]], dtype=object)),
        np.empty((3, 0), dtype=object),
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3)),
        np.arange(3, dtype=">i2"),
        np.zeros(0, np.int64),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_come_back_as_lists(array: np.ndarray, protocol: int) -> None:
    assert loads(pickle.dumps({"x": array}, protocol=protocol), "x") == {"x": array.tolist()}


def test_arrays_of_arrays_and_single_numbers() -> None:
    value = objects(np.arange(2), np.int64(5), np.float32(0.5))
    assert loads(pickle.dumps(value, protocol=4), "x") == [[0, 1], 5, 0.5]
    assert type(loads(pickle.dumps(np.int64(5), protocol=4), "x")) is int


def test_names_of_both_numpys_are_known() -> None:
    now = pickle.dumps(objects([1], [2, 3]), protocol=3)
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        either = now.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
        assert loads(either, "x") == [[1], [2, 3]]


def test_files(tmp_path: Path) -> None:
    dump_pickle(PLAIN, tmp_path / "x.pkl")
    assert load_pickle(tmp_path / "x.pkl") == PLAIN == pickle.loads((tmp_path / "x.pkl").read_bytes())
    np.save(tmp_path / "x.npy", {"a": objects([1], [])}, allow_pickle=True)  # type: ignore[arg-type]
    assert load_npy(tmp_path / "x.npy") == {"a": [[1], []]}
    for array in (np.arange(3), objects(1, 2)):
        np.save(tmp_path / "y.npy", array, allow_pickle=True)
        with pytest.raises(ValueError, match=r"y\.npy: must hold one object, a mapping of columns"):
            load_npy(tmp_path / "y.npy")
    with pytest.raises(ValueError, match=r"x\.pkl: not a readable \.npy file"):
        load_npy(tmp_path / "x.pkl")
    with pytest.raises(ValueError, match=r"z\.pkl: there is no such file"):
        load_pickle(tmp_path / "z.pkl")


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Holder:
    pass


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("exploit", "name"),
    [
        (Calls(os.system, "touch ran"), "posix.system"),
        (Calls(eval, "open('ran', 'w')"), "builtin.*eval"),
        (Calls(exec, "open('ran', 'w')"), "builtin.*exec"),
        (Calls(getattr, "", "join"), "builtin.*getattr"),
        (Calls(shutil.rmtree, "ran"), "shutil.rmtree"),
        (Calls(np.load, "ran"), "numpy.load"),
        (Calls(np.fromfile, "ran"), "numpy(._?core.multiarray)?.fromfile"),
        (Calls(np.lib.format.open_memmap, "ran", "w+", "i8", False, (1,)), "numpy.lib.+open_memmap"),
        (Calls(pickle.loads, b""), "_?pickle.loads"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (date(2020, 1, 1), "datetime.date"),
        (Holder(), "copy_?reg._reconstructor|test_safe_pickle.Holder"),
        (complex(1, 2), "builtin.*complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_r11_everything_else_is_refused_by_name(
    exploit: Any, name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"column": [1, exploit]}, protocol=protocol)
    with pytest.raises(
        ValueError, match=rf"^depot: .* got the name '.*({name})'; it is not the data of a depot"
    ):
        loads(data, "depot")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cposix\nsystem\n(S'touch ran'\ntR.", "got the name 'posix.system'"),
        (b"(iposix\nsystem\n.", "got the instruction INST"),
        (b"\x80\x02P0\n.", "got the instruction PERSID"),
        (b"\x80\x02\x82\x01.", "got the instruction EXT1"),
        (b"\x80\x02\xff.", "got the byte 0xff"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.left\x93.", "got the name 'numpy.ndarray.left'"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "more memory than it has bytes"),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x.", "not a readable pickle"),
        (b"\x80\x04]", "not a readable pickle"),
        (b"", "not a readable pickle"),
        (b"\x80\x02h\x05.", "not a readable pickle"),
        (b"\x80\x02K\x01K\x02R.", "not a readable pickle"),
        # A state for a class would write into the class.
        (b"\x80\x02cnumpy\nndarray\n}X\x04\x00\x00\x00leftK\x01sb.", "not a readable pickle"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n}X\x01\x00\x00\x00xK\x01sb.", "not a readable pickle"),
        (
            b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00V8\x85R.",
            "must hold numbers or plain objects, got the type 'V8'",
        ),
    ],
)
def test_r11_damaged_and_crafted_bytes(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^depot: .*{message}"):
        loads(data, "depot")


def test_an_array_claims_no_more_than_the_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    good = pickle.dumps(objects(*range(200, 230)), protocol=3)
    for shape in (b"K\x1f", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="lacks values|more values than it has bytes"):
            loads(good.replace(b"K\x1e\x85", shape + b"\x85"), "depot")
    with pytest.raises(ValueError, match="must have one or two dimensions"):
        loads(pickle.dumps(np.zeros((1, 1, 1)), protocol=4), "depot")
    monkeypatch.setattr(safe_pickle, "MAX_EMPTY", 1000)
    with pytest.raises(ValueError, match="more values than it has bytes"):
        loads(pickle.dumps(np.empty((10_000, 0), dtype=object), protocol=4), "depot")


def test_arrays_that_share_values_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MAX_EMPTY", 0)
    state = (1, (200,), np.dtype("O"), False, [None] * 200)

    class Copy:
        def __reduce__(self) -> Any:
            return np.ndarray.__reduce__(np.empty(0, object))[0], (np.ndarray, (0,), b"b"), state

    assert loads(pickle.dumps(Copy(), protocol=4), "depot") == [None] * 200
    with pytest.raises(ValueError, match="more values than it has bytes"):
        loads(pickle.dumps([Copy() for _ in range(50)], protocol=4), "depot")


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 10)
    (tmp_path / "x.pkl").write_bytes(bytes(11))
    with pytest.raises(ValueError, match=r"x\.pkl: must have at most 10 bytes, got 11; split the depot"):
        load_pickle(tmp_path / "x.pkl")


def test_any_cut_is_an_error_of_ours() -> None:
    buffer = io.BytesIO()
    np.save(buffer, PLAIN | {"x": objects([1], [2, 3])}, allow_pickle=True)  # type: ignore[arg-type]
    data = buffer.getvalue()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="depot"):
            loads(data[:end], "depot")
