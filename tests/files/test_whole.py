"""A folder appears whole, or the one before it stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from legorec.files.disk import WriteError
from legorec.files.temporary import remove_leftovers, temporary_beside
from legorec.files.whole import folder_whole, save_whole
from tests.support.disks import no_space


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def write(path: Path, name: str) -> None:
    with folder_whole(path, 100, "about ", then="; the rest stays") as partial:
        (partial / name).write_text(name)


def test_a_new_folder_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write(tmp_path / "above" / "folder", name)
        assert content(tmp_path / "above" / "folder") == {name: name}
        assert [path.name for path in (tmp_path / "above").iterdir()] == ["folder"]


def failing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = []

    def call(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == at:
            no_space()
        return function(*given)

    return call


@pytest.mark.parametrize("at", [1, 2])
def test_r3_a_rename_that_fails_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    write(tmp_path / "folder", "one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(os.replace, at))
        with pytest.raises(WriteError, match="folder: could not be written, it needs about 100 .*rest stays"):
            write(tmp_path / "folder", "other")
    assert content(tmp_path / "folder") == {"one": "one"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_whole(tmp_path / "folder", 1) as partial:
        (partial / "a").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_first_file_stays_where_it_should(tmp_path: Path) -> None:
    for data, first in ((b"one", True), (b"other", True)):
        save_whole(tmp_path / "file", data, first=first)
        assert (tmp_path / "file").read_bytes() == b"one"
    save_whole(tmp_path / "file", b"other")
    assert content(tmp_path) == {"file": "other"}


def test_files_of_the_living_are_no_leftovers(tmp_path: Path) -> None:
    mine = temporary_beside(tmp_path / "file")
    old = tmp_path / "file.tmp-elsewhere-1-0"
    for path in (mine, old, tmp_path / "file.lock"):
        path.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
