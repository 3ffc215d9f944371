"""Problems of a config: where they are, what is wrong, and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MASK = "<masked>"
UNRESOLVED = "\0unresolved"  # marks a place whose problem has been reported, so that it is reported once
_SECRET = re.compile(r"(^|_)(key|token|secret|password)$")
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*(?=@)|(?<=[?&])[^\s'\"]*")  # of a URL, and its query


def is_secret(place: str) -> bool:
    """Whether the value must never be shown: ``*_key``, ``token``, ``*_secret``, ``password``."""
    return _SECRET.search(place.rpartition(".")[2].lower()) is not None


def without_credentials(text: str) -> str:
    """The text without the user, the password and the query of a URL in it."""
    return _CREDENTIALS.sub(MASK, text) if "//" in text else text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``origin`` is ``file:line`` or ``command line``, ``place`` a dotted path."""

    origin: str
    place: str
    message: str

    def __str__(self) -> str:
        where = f"{self.origin}  {self.place}" if self.place else self.origin
        return f"{where}: {self.message}"


class SettingsError(ValueError):
    """Everything that is wrong with a command line and its files, in one message."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the settings"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))
