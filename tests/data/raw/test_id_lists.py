"""One list of ids in four formats; what is none is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from legorec.data.raw.id_lists import read_ids
from legorec.data.raw.lines import InputError

IDS = ["17", "3", "250"]


def written(path: Path, ids: list) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(ids))
    elif path.suffix == ".npy":
        np.save(path, np.array(ids))
    elif path.suffix == ".parquet":
        pl.DataFrame({"any": ids}).write_parquet(path)
    else:
        path.write_text("\r\n\n".join(map(str, ids)) + "\n")
    return path


@pytest.mark.parametrize("ending", ["txt", "ids", "json", "npy", "parquet"])
@pytest.mark.parametrize("kind", [str, int])
def test_formats_say_the_same(tmp_path: Path, ending: str, kind: type) -> None:
    ids = read_ids(written(tmp_path / f"list.{ending}", [kind(each) for each in IDS]))
    assert ids.to_list() == IDS and ids.dtype == pl.String


@pytest.mark.parametrize("ending", ["txt", "json", "npy", "parquet"])
def test_an_id_stands_once_and_one_at_least(tmp_path: Path, ending: str) -> None:
    with pytest.raises(InputError, match=r"must stand there once; 2 are there again, e\.g\. '3'"):
        read_ids(written(tmp_path / f"twice.{ending}", ["3", "1", "3", "3"]))
    with pytest.raises(InputError, match="must hold ids, one a line, and holds none"):
        read_ids(written(tmp_path / f"none.{ending}", np.array([], dtype=str) if ending == "npy" else []
                         if ending != "parquet" else pl.Series([], dtype=pl.String)))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"dev": [1]}', "must be a list of ids, got a dict"),
        ("a.json", b"[1, 2", "not readable JSON"),
        ("a.json", b"[" * 200_000, "not readable JSON"),
        ("a.json", b"[1, 2.0]", "must be a text or a whole number, got 2.0"),
        ("a.json", b"[true]", "must be a text or a whole number, got True"),
        ("a.npy", b"nothing", "no plain .npy vector"),
        ("a.parquet", b"nothing", "not a readable Parquet file"),
        ("a.txt", b"\xff\xfe", "it is UTF-16"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_ids(tmp_path / name)


def test_other_shapes_and_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "matrix.npy", np.zeros((2, 2)))
    np.save(tmp_path / "objects.npy", np.array(["a", 3], dtype=object), allow_pickle=True)
    pl.DataFrame({"a": ["x"], "b": ["y"]}).write_parquet(tmp_path / "two.parquet")
    pl.DataFrame({"a": ["x", None]}).write_parquet(tmp_path / "gap.parquet")
    for name, message in (
        ("matrix.npy", r"a vector of ids, got \(2, 2\)"),
        ("objects.npy", "a pickled one is refused"),
        ("two.parquet", "must have one column of texts or whole numbers, got a"),
        ("gap.parquet", "1 of 2 ids are missing"),
        ("lost.txt", "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_ids(tmp_path / name)
