"""Arrays that come block by block: the bytes of the library's file, the disk named when it is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legorec.data.layout import map_arrays, save_arrays
from legorec.data.ragged import Ragged
from legorec.data.writing import arrays as writing
from legorec.data.writing.arrays import Blocks, GrowingArray, GrowingRagged, write_arrays
from legorec.files.disk import WriteError

DTYPES = st.sampled_from(["int64", "int32", "uint8", "float32"])
ARRAYS = st.dictionaries(
    st.sampled_from(["user", "span", "candidates", "candidates.offsets", "labels", "ids.values", "é"]),
    st.tuples(DTYPES, st.integers(0, 9)),
    min_size=1,
)


def cut(array: np.ndarray, size: int) -> Blocks:
    """An array block by block."""
    return Blocks(array.dtype, len(array), (array[n : n + size] for n in range(0, len(array), size)))


@given(ARRAYS, st.integers(1, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_r20_the_bytes_are_those_of_the_library(
    tmp_path: Path, shapes: dict[str, tuple[str, int]], size: int
) -> None:
    arrays = {name: np.arange(length, dtype=dtype) for name, (dtype, length) in shapes.items()}
    save_arrays(tmp_path / "whole", arrays)
    write_arrays(tmp_path / "blocks", {name: cut(array, size) for name, array in arrays.items()})
    write_arrays(tmp_path / "arrays", arrays)
    whole = (tmp_path / "whole").read_bytes()
    assert whole == (tmp_path / "blocks").read_bytes() == (tmp_path / "arrays").read_bytes()


def test_a_matrix_and_what_is_not_contiguous(tmp_path: Path) -> None:
    spans = np.arange(12).reshape(2, 6).T
    write_arrays(tmp_path / "file", {"spans": spans, "every second": np.arange(8, dtype=np.int32)[::2]})
    found = map_arrays(tmp_path / "file")
    assert found["spans"].tolist() == spans.tolist() and found["every second"].tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("length", [4, 6])
def test_blocks_of_another_length_are_noticed(tmp_path: Path, length: int) -> None:
    with pytest.raises(AssertionError, match="too few or too many"):
        write_arrays(tmp_path / "file", {"x": Blocks(np.dtype(np.int32), length, [np.zeros(5, np.int32)])})


def test_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BLOCK", 2)
    array = GrowingArray(tmp_path / "new" / "array", np.int32)
    assert len(array) == 0 and not list(array.blocks()) and array.mapped().dtype == np.int32
    for part in (np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4, 5])):
        array.append(part)
    assert [block.tolist() for block in array.blocks()] == [[1, 2], [3, 4], [5]]
    assert len(array) == 5 and array.mapped().tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(FileExistsError):
        GrowingArray(array.path, np.int32)


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_grow(tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[int]]]) -> None:
    rows = GrowingRagged(tmp_path_factory.mktemp("rows") / "rows", np.int32)
    for part in parts:
        rows.append(Ragged.from_lists(part))
    found = Ragged(rows.values.mapped(), rows.offsets.mapped())
    assert [each.tolist() for each in found] == [row for part in parts for row in part]
    assert len(rows) == len(found)


def test_r3_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = GrowingArray(tmp_path / "array", np.int64)

    def full(file: object, values: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_write", full)
    with pytest.raises(WriteError, match=r"array: could not be written, it needs 24 bytes,"):
        array.append(np.arange(3))
    assert len(array) == 0
    with pytest.raises(WriteError, match="file: could not be written, it needs 88 bytes"):
        write_arrays(tmp_path / "file", {"x": np.arange(3)})
