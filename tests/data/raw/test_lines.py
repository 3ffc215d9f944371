"""Raw files in zips: nothing leads out of one (R12), and what is damaged or lies is refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from legorec.data.raw import lines
from legorec.data.raw.lines import (
    InputError,
    blocks,
    encoding_of,
    find_file,
    lies_in,
    plain_name,
    raw_file,
    unpacked,
)

ROWS = b"".join(b"N%d\tnews\ttitle of %d\n" % (row, row) for row in range(400))
METHODS = {"stored": 0, "deflate": 8, "bz2": 12, "lzma": 14}


def packed(content: bytes = ROWS, method: int = zipfile.ZIP_DEFLATED, name: str = "dev/news.tsv") -> bytes:
    """A zip with one member."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.writestr(name, content)
    return whole.getvalue()


def changed(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """The zip with some bytes of its member's two headers replaced."""
    found = bytearray(data)
    for start, place in ((found.index(b"PK\3\4"), local), (found.index(b"PK\1\2"), central)):
        found[start + place : start + place + len(value)] = value
    return bytes(found)


def declared(data: bytes, size: int) -> bytes:
    """The zip that says another size of its member."""
    return changed(data, 22, 24, struct.pack("<I", size))


def read(path: Path) -> bytes:
    return "".join(text for _, text in blocks(find_file(path, "news.tsv"))).encode()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_member_is_read_in_place(tmp_path: Path, method: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 1000)
    (tmp_path / "dev.zip").write_bytes(packed(method=method))
    assert read(tmp_path / "dev.zip") == ROWS and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "member",
    ["../news.tsv", "a/../../news.tsv", "/news.tsv", "..\\news.tsv", "C:\\news.tsv", "c:news.tsv",
     "\\\\server\\share\\news.tsv"],
)  # fmt: skip
def test_r12_a_member_that_leads_out_of_its_zip(tmp_path: Path, member: str) -> None:
    (tmp_path / "dev.zip").write_bytes(packed(name=member))
    message = f"dev.zip: the member '{re.escape(member)}' leads out of the zip; it is refused"
    with pytest.raises(InputError, match=message):
        find_file(tmp_path / "dev.zip", "news.tsv")


def test_r12_a_member_that_is_a_link_stands_twice_or_is_a_folder(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("news.tsv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="the member 'news.tsv' leads out of the zip"):
        find_file(tmp_path / "link.zip", "news.tsv")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("news.tsv", "a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("news.tsv", "b")
    with pytest.raises(InputError, match="there must be one news.tsv in the zip, found 2"):
        find_file(tmp_path / "twice.zip", "news.tsv")
    (tmp_path / "folder.zip").write_bytes(packed(b"", name="news.tsv/"))
    with pytest.raises(InputError, match="there must be one news.tsv in the zip, found 0"):
        find_file(tmp_path / "folder.zip", "news.tsv")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (declared(packed(), 100), "Bad CRC-32"),
        (declared(packed(), 10**9), f"{len(ROWS):,} bytes in place of 1,000,000,000"),
        (declared(packed(method=0), len(ROWS) + 9), f"{len(ROWS):,} bytes in place of"),
        (changed(packed(), 6, 8, b"\1"), "is encrypted, password required"),
        (changed(packed(), 8, 10, b"\x61"), "compression method is not supported"),
        (packed()[:60] + b"\0" * 9 + packed()[69:], "Error -3 while decompressing"),
        (packed(method=12)[:60] + b"\0" * 9 + packed(method=12)[69:], "Invalid data stream"),
    ],
    ids=["a bomb", "less than is said", "less, stored", "a password", "a method", "damage", "bz2"],
)
def test_r12_a_zip_that_lies_or_is_damaged(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "dev.zip").write_bytes(data)
    with pytest.raises(
        InputError, match=rf"dev\.zip:dev/news\.tsv: cannot be read \(.*{told}.*fetch it again"
    ):
        read(tmp_path / "dev.zip")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_r12_damage_anywhere_is_told_or_changes_nothing(tmp_path: Path, method: int) -> None:
    rng, whole, path = np.random.default_rng(method), packed(method=method), tmp_path / "dev.zip"
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(whole), int(rng.integers(1, 4))):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert read(path) == ROWS
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 50


def test_r12_a_line_that_no_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes, packed, of one line without an end: reading stops at its beginning."""
    monkeypatch.setattr(lines, "BLOCK", 1000)
    monkeypatch.setattr(lines, "LONGEST_LINE", 2000)
    content = b"N1\tnews\nN2\t" + b"\0" * 5_000_000
    (tmp_path / "dev.zip").write_bytes(packed(content))
    (tmp_path / "dev.gz").write_bytes(gzip.compress(content))
    assert (tmp_path / "dev.zip").stat().st_size < 20_000
    readings: list[Callable[[], object]] = [
        lambda: read(tmp_path / "dev.zip"), lambda: list(unpacked(tmp_path / "dev.gz"))
    ]  # fmt: skip
    for reading in readings:
        with pytest.raises(InputError, match=r"line 2 is longer than 2,000 bytes"):
            reading()
    long = b"x" * 2900 + b"\n"  # as long as a block and a line may be together
    (tmp_path / "dev.zip").write_bytes(packed(long * 3))
    assert read(tmp_path / "dev.zip") == long * 3


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: data])
def test_a_packed_file_is_known_by_its_content(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Whatever its name is, and where a folder holds it by the name of its packing."""
    for name in ("news.tsv", "news.tsv.gz", "news.tsv.bz2", "news.tsv.xz"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(pack(ROWS))
        assert read(folder) == ROWS
        assert plain_name(folder / name) == "news.tsv" and lies_in(folder, "news.tsv") == folder / name
    for content, found in ((b"", []), (b"BZhello, a text", ["BZhello, a text"]), (pack(b""), [])):
        (tmp_path / "a").write_bytes(content)
        assert [text for _, text in blocks(raw_file(tmp_path / "a"))] == found


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        (b"\x28\xb5\x2f\xfd", r"packed with zstd; unpack it first \(zstd -d a.csv"),
        (b"PK\3\4", r"packed with a zip; unpack it first \(unzip a.csv"),
        (b"7z\xbc\xaf\x27\x1c", "packed with 7-Zip; unpack"),
    ],
)
def test_other_packings_are_named_with_what_unpacks_them(tmp_path: Path, magic: bytes, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(magic + b"\0" * 40)
    with pytest.raises(InputError, match=rf"a\.csv: it is {told}"):
        raw_file(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(InputError, match=r"b\.csv: there is no such file, but a folder"):
        raw_file(tmp_path / "b.csv")


def test_utf_8_is_told_from_other_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 7)
    text = "Amélie\nMisérables\nplain\n"
    for encoding in ("utf-8", "latin-1"):
        (tmp_path / "a").write_bytes(text.encode(encoding))
        file = raw_file(tmp_path / "a")
        assert encoding_of(file, "latin-1") == encoding
        assert "".join(part for _, part in blocks(file, encoding)) == text
    (tmp_path / "a").write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="a: it is UTF-16; convert it: iconv -f utf-16 -t utf-8"):
        list(blocks(raw_file(tmp_path / "a")))
