"""What a manifest says of files, in JSON with its own digest, and refusing files that are others by now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal

from legorec.files.digest import digest_bytes, digest_file
from legorec.files.disk import save_bytes
from legorec.files.json_text import parse_json

MANIFEST = "manifest.json"
Verify = Literal["size", "digest", "full"]
Fact = Mapping[str, Any]  # {"bytes": size, "blake2b": digest} of one file


@dataclass(frozen=True)
class Refusal:
    """How files are refused that are not as they were written.

    Args:
        whole: what they are the files of, such as "a store".
        error: what is raised; its message names the file and the rule.
        way_out: what a user can do, the end of every message.
        if_missing: the same where a file is missing; by default the same.
    """

    whole: str
    error: type[ValueError]
    way_out: str = ""
    if_missing: str | None = None

    def __call__(self, path: Path, why: str) -> ValueError:
        """The error for one file."""
        return self._made(path, why, self.way_out)

    def missing(self, path: Path) -> ValueError:
        """The error for a file that is not there."""
        return self._made(
            path, "the file is missing", self.way_out if self.if_missing is None else self.if_missing
        )

    def _made(self, path: Path, why: str, way_out: str) -> ValueError:
        return self.error(f"{path}: {why}" + (f"; {way_out}" if way_out else ""))


def canonical(value: Any) -> bytes:
    """The bytes of a JSON value, the same for equal values."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def save_json(path: Path, value: Any) -> None:
    """Write JSON in one fixed form and flush it to the disk."""
    save_bytes(path, canonical(value))


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its own digest in it."""
    body = {key: value for key, value in content.items() if key != "digest"}
    return body | {"digest": digest_bytes(canonical(body))}


def read_sealed(path: Path, kind: str, refusal: Refusal, version: int | None = None) -> dict[str, Any]:
    """A JSON file that carries its own digest.

    Args:
        kind: what its ``format`` must say.
        version: what its ``version`` must say, where it has one.
    Raises:
        ValueError: as ``refusal`` says: it is a link, not readable, of another kind, or was altered.
    """
    refuse_link(path, refusal)
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise refusal(path, f"not readable ({problem})") from None
    if not isinstance(content, dict) or content.get("format") != kind:
        raise refusal.error(f"{path}: `format` must be '{kind}'; this is not {refusal.whole}")
    if version is not None and content.get("version") != version:
        found = content.get("version")
        raise refusal(path, f"format version {found!r} is unknown, this program reads {version}")
    if seal(content)["digest"] != content.get("digest"):
        raise refusal(path, "it was altered (its digest differs)")
    return content


def fact_of(path: Path) -> dict[str, Any]:
    """Size and digest of a file, as manifests hold them."""
    return {"bytes": path.stat().st_size, "blake2b": digest_file(path)}


def check_sizes(facts: Mapping[Path, Fact], refusal: Refusal) -> None:
    """Refuse links, missing files, and files of another size than was noted.

    Raises:
        ValueError: as ``refusal`` says.
    """
    for path, fact in facts.items():
        refuse_link(path, refusal)
        if path.is_dir():
            raise refusal(path, "a folder, where a file belongs")
        if not path.is_file():
            raise refusal.missing(path)
        if (size := path.stat().st_size) != fact["bytes"]:
            raise refusal(path, f"it has {size:,} bytes, the manifest says {fact['bytes']:,}")


def check_digests(facts: Mapping[Path, Fact], found: Mapping[Path, str], refusal: Refusal) -> None:
    """Refuse files of another content than was noted.

    Args:
        found: the digests that they have.
    Raises:
        ValueError: as ``refusal`` says.
    """
    for path, fact in facts.items():
        if found[path] != fact["blake2b"]:
            raise refusal(
                path,
                f"its content was altered (digest {found[path][:8]}.., the manifest says "
                f"{fact['blake2b'][:8]}..)",
            )


def check_verify(verify: str, error: type[ValueError] = ValueError) -> None:
    """Refuse a way to verify that there is not."""
    if verify not in ("size", "digest", "full"):
        raise error(f"`verify` must be size, digest or full, got '{verify}'")


def refuse_link(path: Path, refusal: Refusal) -> None:
    """Refuse a symbolic link among the files; their folder itself may be reached through one."""
    if path.is_symlink():
        raise refusal(path, f"a symbolic link; the files of {refusal.whole} must be files")


def leads_out(name: str) -> bool:
    """Whether a name of a file, relative to a folder, may lead to another place."""
    pure = PurePosixPath(name)
    return pure.is_absolute() or ".." in pure.parts


def is_plain(name: str) -> bool:
    """Whether a name is that of something in a folder itself, not below or outside it."""
    return name not in ("", "..") and PurePath(name).name == name
