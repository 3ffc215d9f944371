"""Raw files, plain, packed or in a zip, as blocks of whole lines; nothing is unpacked to the disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, cast

BLOCK = 1 << 26
LONGEST_LINE = 1 << 26  # a compressed file of a few megabytes may hold a line too long for any memory
# How packed files begin, what reads them, and the endings of their names.
PACKED: dict[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
ENDINGS = (".gz", ".bz2", ".xz")
# Others, by name, with the command that unpacks them.
UNREAD = {
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"),
    b"PK\3\4": ("a zip", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
    b"Rar!": ("RAR", "unrar x"),
}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Errors in reading an archive; RuntimeError if it needs a password or an unknown method.
UNREADABLE = (
    EOFError,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


class InputError(ValueError):
    """A raw file is missing or malformed; the message names the file, and the line where there is one."""


@dataclass(frozen=True)
class RawFile:
    """A file, or a member of a zip, that can be opened repeatedly.

    Args:
        size: according to the zip; a shorter member is read without an error and without a checksum.
    """

    label: str
    open: Callable[[], IO[bytes]]
    size: int | None = None


def raw_file(path: Path) -> RawFile:
    """A file on the disk, plain or packed (gzip, bzip2, xz), told by its first bytes.

    Raises:
        InputError: it does not exist, or is packed in another way, which is named.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such {'file' if not path.exists() else 'file, but a folder'}")
    with open(path, "rb") as stream:
        head = stream.read(8)
    for magic, (name, command) in UNREAD.items():
        if head.startswith(magic):
            raise InputError(f"{path}: it is packed with {name}; unpack it first ({command} {path.name})")
    for magic, opened in PACKED.items():
        # A text may begin with BZh; then comes no digit and the mark of a block.
        if head.startswith(magic) and (magic != b"BZh" or head[4:7] in (b"1AY", b"\x17\x72\x45")):
            return RawFile(str(path), cast(Callable[[], IO[bytes]], partial(opened, path)))
    return RawFile(str(path), lambda: open(path, "rb"))


def plain_name(path: Path) -> str:
    """The name of a file without the ending of its packing: ``items.csv`` of ``items.csv.gz``."""
    return path.stem if path.suffix.lower() in ENDINGS else path.name


def lies_in(folder: Path, name: str) -> Path | None:
    """The file ``name`` of a folder, or the same packed (``name.gz``); None if there is neither."""
    paths = (folder / f"{name}{ending}" for ending in ("", *ENDINGS))
    return next((path for path in paths if path.is_file()), None)


def find_file(source: Path, name: str) -> RawFile:
    """The file ``name`` in a folder or, at any depth, in a zip. Members are read in place, never unpacked.

    Raises:
        InputError: it is missing or there twice, or the zip is damaged or holds a member that is a link or
            leads out of the folder.
    """
    if source.is_dir():
        return raw_file(lies_in(source, name) or source / name)
    if not source.is_file():
        raise InputError(f"{source}: there is no such folder or zip")
    if not zipfile.is_zipfile(source):
        raise InputError(f"{source}: neither a folder nor a zip")
    found = []
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except UNREADABLE as problem:
        raise InputError(_unreadable(source, problem)) from None
    for member in members:
        path = PureWindowsPath(member.filename)  # both separators, and drives
        if path.anchor or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{source}: the member '{member.filename}' leads out of the zip; it is refused")
        if path.name == name and not path.parts[0].startswith("__MACOSX") and not member.is_dir():
            found.append(member)
    if len(found) != 1:
        raise InputError(f"{source}: there must be one {name} in the zip, found {len(found)}")
    file = found[0].filename
    return RawFile(f"{source}:{file}", lambda: zipfile.ZipFile(source).open(file), found[0].file_size)


def unpacked(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The lines of a file, packed or plain, in blocks, with the number of each block's first line.

    Raises:
        InputError: there is no such file, it is damaged or it is not text.
    """
    yield from blocks(raw_file(path), encoding)


def blocks(file: RawFile, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The text of a file in blocks of whole lines, with the number of each block's first line.

    Raises:
        InputError: it is damaged, it is not text, or a line is longer than ``LONGEST_LINE`` bytes.
    """
    number = 1
    for data in _whole_lines(file):
        if number == 1:
            if data.startswith(UTF_16):
                raise InputError(f"{file.label}: it is UTF-16; convert it: iconv -f utf-16 -t utf-8")
            data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as problem:
            line = number + data.count(b"\n", 0, problem.start)
            raise InputError(
                f"{file.label}: line {line} is not {encoding} text; convert it (iconv), or give --encoding "
                "where there is one"
            ) from None
        yield number, text
        number += data.count(b"\n")


def encoding_of(file: RawFile, otherwise: str) -> str:
    """``utf-8`` if a file is such text throughout, else ``otherwise``: other letters are hardly ever UTF-8.

    Raises:
        InputError: the file is damaged.
    """
    for data in _whole_lines(file):
        try:
            data.decode()
        except UnicodeDecodeError:
            return otherwise
    return "utf-8"


def _whole_lines(file: RawFile) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole lines."""
    size, number = 0, 1
    try:
        with file.open() as stream:
            while data := stream.read(BLOCK) + (rest := stream.readline(LONGEST_LINE)):
                number += data.count(b"\n")
                if len(rest) >= LONGEST_LINE and not rest.endswith(b"\n"):
                    raise InputError(f"{file.label}: line {number} is longer than {LONGEST_LINE:,} bytes")
                size += len(data)
                yield data
        if size < (file.size or 0):
            raise EOFError(f"{size:,} bytes in place of {file.size:,}")
    except UNREADABLE as problem:
        raise InputError(_unreadable(file.label, problem)) from None


def _unreadable(label: object, problem: BaseException) -> str:
    return f"{label}: cannot be read ({problem}); if it is damaged or cut short, fetch it again"
