"""YAML 1.2 scalars, the same in files, on the command line and in the defaults of references.

PyYAML reads YAML 1.1, where ``1e-4`` is text and ``no`` is false. Here ``1e-4`` is a number and ``no`` is
text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
TAG = "tag:yaml.org,2002:"
_PATTERNS = {name: re.compile(pattern) for name, pattern, _ in _RESOLVERS}


class SettingsLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class _SettingsDumper(yaml.SafeDumper):
    """Writes YAML that ``SettingsLoader`` reads back unchanged: the text ``'1e-4'`` is quoted."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _RESOLVERS:
    for _each in (SettingsLoader, _SettingsDumper):
        _each.add_implicit_resolver(TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def scalar(tag: str, text: str) -> Any:
    """The value of a scalar whose tag is known.

    Raises:
        ValueError: the text does not fit the tag, as in ``!!bool maybe``.
    """
    if "\0" in text:  # `UNRESOLVED` starts with it
        raise ValueError("a text may not hold a NUL character")
    pattern = _PATTERNS.get(tag.removeprefix(TAG))
    if pattern is not None and not pattern.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not what its tag says ({tag.removeprefix(TAG)})")
    if tag == TAG + "null":
        return None
    if tag == TAG + "bool":
        return text.lower() == "true"
    if tag == TAG + "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if tag == TAG + "float":
        lowered = text.lower()
        return (
            float(lowered.replace(".inf", "inf").replace(".nan", "nan"))
            if lowered[-1] in "fn"
            else float(text)
        )
    return text


def cast(text: str) -> Any:
    """The value that this text has as an unquoted YAML scalar."""
    name = next((name for name, pattern in _PATTERNS.items() if pattern.fullmatch(text)), "str")
    try:
        return scalar(TAG + name, text)
    except ValueError:  # a number with more digits than Python reads
        return text


def spell(value: Any) -> str:
    """The text of a scalar, as YAML writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_yaml(tree: Any) -> str:
    """The tree as YAML text, keys in order."""
    return yaml.dump(tree, Dumper=_SettingsDumper, sort_keys=False, allow_unicode=True, width=110)
