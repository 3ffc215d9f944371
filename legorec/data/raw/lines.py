"""Raw files, plain, gzipped or in a zip, as blocks of whole lines; nothing is unpacked to the disk."""

from __future__ import annotations

import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, cast

BLOCK = 1 << 26
LONGEST_LINE = 1 << 26  # a compressed file of a few megabytes may hold a line too long for any memory
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
    """A file on the disk.

    Raises:
        InputError: it does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return RawFile(str(path), lambda: open(path, "rb"))


def find_file(source: Path, name: str) -> RawFile:
    """The file ``name`` in a folder or, at any depth, in a zip. Members are read in place, never unpacked.

    Raises:
        InputError: it is missing or there twice, or the zip is damaged or holds a member that is a link or
            leads out of the folder.
    """
    if source.is_dir():
        return raw_file(source / name)
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


def packed_file(path: Path) -> RawFile:
    """A file on the disk, gzipped or plain.

    Raises:
        InputError: it does not exist.
    """
    file = raw_file(path)
    with file.open() as stream:
        if stream.read(2) == b"\x1f\x8b":
            return RawFile(str(path), lambda: cast(IO[bytes], gzip.open(path)))
    return file


def unpacked(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, gzipped or plain, in blocks, with the number of each block's first line.

    Raises:
        InputError: there is no such file, it is damaged or it is not text.
    """
    yield from blocks(packed_file(path))


def blocks(file: RawFile, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The text of a file in blocks of whole lines, with the number of each block's first line.

    Raises:
        InputError: it is damaged, it is not text, or a line is longer than ``LONGEST_LINE`` bytes.
    """
    number = 1
    for data in _whole_lines(file):
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as problem:
            line = number + data.count(b"\n", 0, problem.start)
            raise InputError(f"{file.label}: line {line} is not {encoding} text") from None
        yield number, text
        number += data.count(b"\n")


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
