"""The settings that a run saved: where its relative paths begin, wherever it is read from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legorec.compose.problems import Problem
from legorec.compose.scalars import to_yaml

KEY = "made_in"
EARLIER = "stages"
FOLDER, FROM_HERE = "folder", "from_here"
MAX_ABOVE = 6  # folders above a run's own that are looked through


@dataclass(frozen=True)
class Saved:
    """One file of saved settings.

    Args:
        file: as it was named.
        made_in: the folder that its relative paths began at, when it was written; None: it does not say.
        from_here: the same, from the file's folder, so that both may have moved together.
        earlier: of a stage, what earlier ones had made; see ``Settings.earlier``.
    """

    file: str
    made_in: str | None = None
    from_here: str | None = None
    earlier: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.file).absolute().parent

    def find(self, path: str) -> Path | None:
        """What a relative path of the file leads to, if anything is there."""
        return next((found for base in self._bases() if (found := base / path).exists()), None)

    def _bases(self) -> Iterator[Path]:
        """In the order in which they are tried."""
        if self.from_here is not None:
            yield Path(os.path.normpath(self.folder.resolve() / self.from_here))
        if self.made_in is not None:
            yield Path(self.made_in)
        yield Path.cwd()
        above = self.folder.parents
        yield from above[: min(MAX_ABOVE, len(above) - 1)]  # not from the root

    def told(self, path: str, place: str) -> str:
        """What to say of a path that leads nowhere."""
        begun = f"{self.made_in}, where the run was made" if self.made_in else "where the run was made"
        way = "legorec.load(run, store=...)" if place == "data.store" else "legorec.load(run, paths={...})"
        return (
            f"{path!r} is relative to {begun}, and is found neither there, nor in the current folder "
            f"{Path.cwd()}, nor above the run; name it with --{place} PATH, or {way}"
        )


def read_saved(path: str, tree: dict[str, Any], problems: list[Problem]) -> Saved:
    """Take out of a saved tree what it says of its place."""
    written, earlier = tree.pop(KEY, None), tree.pop(EARLIER, None) or {}
    if not isinstance(earlier, dict) or not all(isinstance(each, str) for each in earlier.values()):
        problems.append(Problem(path, EARLIER, f"must be a block of `path: digest`, got {earlier!r}"))
        earlier = {}
    if written is None:
        return Saved(path, earlier=earlier)
    known = isinstance(written, dict) and set(written) == {FOLDER, FROM_HERE}
    if not known or not all(isinstance(each, str) and each for each in written.values()):
        message = f"must be a block {{{FOLDER}: PATH, {FROM_HERE}: PATH}}, got {written!r}"
        problems.append(Problem(path, KEY, message))
        return Saved(path, earlier=earlier)
    return Saved(path, written[FOLDER], written[FROM_HERE], earlier)


def place_of(folder: Path) -> str:
    """What ``read_saved`` reads, of settings that this process saves in a folder: a part of their YAML."""
    here = Path.cwd()
    return to_yaml({KEY: {FOLDER: str(here), FROM_HERE: os.path.relpath(here.resolve(), folder.resolve())}})
