"""What opens someone's account is taken out of whatever is written or said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

MASK = "<masked>"
SHORTEST = 8  # a shorter value may be a word of an answer
_NAMES = re.compile(r"(^|_)(key|token|secret|password)s?$", re.IGNORECASE)


def secrets_of_environment(also: Iterable[str] = ()) -> tuple[str, ...]:
    """The values of all variables that are called like a secret, the longest first.

    Args:
        also: further names.
    """
    named = {name: value for name, value in os.environ.items() if _NAMES.search(name) or name in {*also}}
    return tuple(sorted({value for value in named.values() if len(value) >= SHORTEST}, key=len, reverse=True))


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with secrets masked: a server may say the key that it was sent, in a message or an answer."""
    for each in secrets:
        if each in text:
            text = text.replace(each, MASK)
    return text
