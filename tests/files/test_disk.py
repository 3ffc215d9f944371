"""What is said where the disk does not take a file (R3), and what is left of it."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from legorec.files import digest
from legorec.files.disk import WriteError, flush, free_bytes, save_bytes, writing
from legorec.files.whole import all_or_none, written_whole
from tests.support.disks import files_up_to, left_overs, no_space

FRAME = pl.DataFrame({"number": np.random.default_rng(0).random(5000)})


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("a", "w") as member:
        member.write(bytes(5000))


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(bytes(5000)),
    "text": lambda path: path.write_text("a" * 5000),
    "zip": zipped,
    "safetensors of torch": lambda path: safetensors.torch.save_file({"a": torch.zeros(5000)}, path),
    "safetensors of numpy": lambda path: safetensors.numpy.save_file({"a": np.zeros(5000)}, path),
    "written Parquet": FRAME.write_parquet,
    "sunk Parquet": lambda path: FRAME.lazy().sink_parquet(path),
    "sunk CSV": lambda path: FRAME.lazy().sink_csv(path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_r3_every_library_s_error_becomes_the_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1234))
    path = tmp_path / "file"
    with files_up_to(1000), pytest.raises(WriteError) as raised:
        with writing(path, lambda: 54321, "about ", then="; the rest stays"):
            WRITERS[writer](path)
    needs = "could not be written, it needs about 54,321 bytes, 1,234 bytes were free"
    assert str(raised.value) == f"{path}: {needs} (File too large); the rest stays"


def test_r3_used_up_inodes_are_told_from_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legorec.files.disk.free_bytes", lambda path: 62_000_000)
    for left, total, said in ((0, 100, True), (7, 100, False), (0, 0, False)):  # some disks do not count them
        facts = namedtuple("facts", "f_files f_favail")(total, left)
        monkeypatch.setattr(os, "statvfs", lambda path, facts=facts: facts)
        for number in (errno.ENOSPC, errno.EACCES):
            with pytest.raises(WriteError) as raised, writing(tmp_path / "file", 10):
                raise OSError(number, os.strerror(number))
            told = "room for no more files (the disk's inodes are used up)" in str(raised.value)
            assert told is (said and number == errno.ENOSPC)


def test_r3_a_size_that_is_not_known_or_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        WriteError, match=r"file: could not be written, [\d,]+ bytes were free \(No space left"
    ):
        with writing(tmp_path / "file"):
            no_space()
    with writing(tmp_path / "file", lambda: pytest.fail("nothing went wrong")):
        pass
    with pytest.raises(ValueError, match="another mistake"), writing(tmp_path / "file"):
        raise ValueError("another mistake")


def test_r3_an_error_without_a_number_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"\(9 requested and 4 written\)"), writing(tmp_path / "file", 9):
        raise OSError("9 requested and 4 written")


def test_r3_the_inner_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"inner: could not be written, it needs 1 bytes, "):
        with writing(tmp_path / "outer", 2), writing(tmp_path / "inner", 1):
            no_space()


def test_free_bytes_are_those_of_the_folder_to_be(tmp_path: Path) -> None:
    assert abs(free_bytes(tmp_path / "not" / "yet") - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_r3_a_flush_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", no_space)
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(OSError, match=rf"\[Errno {errno.ENOSPC}\] No space left on device: '{path}'"):
            flush(path)


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_r3_a_file_is_replaced_whole_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        if fails != "write":
            patch.setattr(os, fails, no_space)
        with (
            files_up_to(10 if fails == "write" else 1000),
            pytest.raises(WriteError, match="file: .* 20 bytes"),
        ):
            with written_whole(path, 20) as temporary:
                temporary.write_bytes(bytes(20))
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
    with written_whole(path) as temporary:
        temporary.write_bytes(b"behind")
    assert path.read_bytes() == b"behind" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_r3_files_are_replaced_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before = {name: name.encode() for name in ("a", "b")}
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    with monkeypatch.context() as patch:
        if fails != "write":
            patch.setattr(os, fails, no_space)
        with files_up_to(10 if fails == "write" else 1000), pytest.raises(OSError):
            with all_or_none(tmp_path, "new.tmp-") as partial:
                for name in before:
                    save_bytes(partial / name, bytes(20))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_r3_digests_that_cannot_be_remembered_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "SETTLED_NS", 0)
    for number in range(3):
        save_bytes(tmp_path / str(number), bytes(number))
    digest.digest_files([tmp_path / "0"])
    before = (tmp_path / "cache/legorec/digests.json").read_bytes()
    assert before
    with files_up_to(100):
        found = digest.digest_files(tmp_path / str(number) for number in range(3))
    assert len(set(found.values())) == 3 and not left_overs(tmp_path)
    assert (tmp_path / "cache/legorec/digests.json").read_bytes() == before
