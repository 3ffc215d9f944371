"""``${a.b}`` in text, ``${a.b}$`` with its type, ``${key:default}$``: the one place that calls RefConfig.

RefConfig (on top of smartdict) follows the references and finds circles. The rest is not left to it, because
(seen in 0.1.2 and 0.5.1) it looks a missing name up as a Python attribute (``${data.keys}`` gives a bound
method), reads defaults as JSON (``True`` is text), keeps the type of a lone ``${a}``, writes null into text
as ``None``, and reports errors without place and file. So each reference is first checked and reduced: a
name that exists becomes a typed reference, one that does not becomes its default, and a text with references
becomes a marked list of pieces, which are joined afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import refconfig
import smartdict

from legorec.compose.documents import join
from legorec.compose.problems import UNRESOLVED, Problem, is_secret
from legorec.compose.scalars import cast, spell
from legorec.registry import did_you_mean

_TEXT = "\0text"
_NAME = re.compile(r"[^\s${}:|]+")
_MAX_HOPS = 50
_NOTHING: Any = object()


@dataclass(frozen=True)
class Read:
    """A key without dots that a reference reads, with its default in that reference."""

    key: str
    default: str | None
    place: str


@dataclass(frozen=True)
class Reference:
    """``${name:default}``; the default may itself contain references."""

    name: str
    default: str | None


class References:
    """Reduces and resolves the references of one tree; notes which keys are read, and where they end up."""

    def __init__(
        self,
        tree: dict[str, Any],
        where: Callable[[str], str],
        problems: list[Problem],
        unread: Collection[str] = (),
    ) -> None:
        """``unread`` are roots that could not be read: a reference to them is not another problem."""
        self.tree = tree
        self.where = where
        self.problems = problems
        self.unread = frozenset(unread)
        self.reads: list[Read] = []
        self.used: dict[str, list[str]] = {}  # key -> the places that hold its value
        self.defaulted: dict[str, str] = {}  # place -> the key whose default it holds
        self.suggested: dict[str, str] = {}  # place -> the place that such a default was read from
        self.renamed: dict[
            str, str
        ] = {}  # place as written -> place with the references in its keys resolved

    def resolve(self) -> dict[str, Any]:
        """The tree without references; a place that could not be resolved holds ``UNRESOLVED``."""
        reduced = self._reduce(self.tree, "")
        while True:
            try:
                # One positional tree: as a keyword, `t` would be taken for RefConfig's own argument.
                resolved = refconfig.RefConfig().add_raw(reduced).parse()
                return self._joined(resolved, "")
            except smartdict.CircularReferenceError as error:
                name = error.ref_string
                self._problem(name, f"refers to itself in a circle, through ${{{name}}}")
                _cut(reduced, name.split("."))
            except smartdict.ReferenceNotFoundError as error:
                for each in error.unresolved:  # they went through a circle that was reported and cut
                    _cut(reduced, each.path.split(" → "))

    def _reduce(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            reduced = {}
            for key, inner in value.items():
                new_key = self._key(key, join(place, key))
                if new_key is None:  # its problem has been reported
                    continue
                if new_key in reduced:
                    self._problem(join(place, key), f"is the second key that becomes {new_key!r}")
                reduced[new_key] = self._reduce(inner, join(place, key))
            return reduced
        if isinstance(value, list):
            return [self._reduce(each, join(place, str(index))) for index, each in enumerate(value)]
        return self._leaf(value, place) if isinstance(value, str) and "${" in value else value

    def _leaf(self, text: str, place: str, *, in_default: bool = False) -> Any:
        try:
            pieces, typed = split(text)
        except ValueError as error:
            self._problem(place, "holds no reference that can be read" if is_secret(place) else str(error))
            return UNRESOLVED
        reduced = [piece if isinstance(piece, str) else self._reference(piece, place) for piece in pieces]
        if UNRESOLVED in reduced:
            return UNRESOLVED
        return reduced[0] if typed or (in_default and len(reduced) == 1) else [_TEXT, *reduced]

    def _reference(self, reference: Reference, place: str) -> Any:
        head = reference.name.split(".")[0]
        if "." not in reference.name:
            self.reads.append(Read(reference.name, reference.default, place))
        if self._find(reference.name) is not _NOTHING:
            self.used.setdefault(head, []).append(place)
            self._untaken(reference.default or "", place)
            return "${" + reference.name + "}$"
        if head in self.unread:
            return UNRESOLVED
        if reference.default is None:
            known = self.tree if "." not in reference.name else self._siblings(reference.name)
            way_out = f"give --{reference.name}" if "." not in reference.name else "write it"
            default = f"${{{reference.name}:value}}$"
            rule = f"${{{reference.name}}} is not set: {way_out}, or a default as in {default}"
            self._problem(place, rule + did_you_mean(reference.name.split(".")[-1], known))
            return UNRESOLVED
        self.defaulted.setdefault(place, reference.name)
        if "${" in reference.default:
            found = self._leaf(reference.default, place, in_default=True)
            if isinstance(found, str) and found.startswith("${") and "." in found:
                self.suggested.setdefault(place, found[2:-2])
            return found
        return cast(reference.default.strip())

    def _untaken(self, default: str, place: str) -> None:
        """Check a default that is not used: it reads nothing, but ``--help`` shows it."""
        try:
            pieces = split(default)[0]
        except ValueError as error:
            self._problem(place, "holds no reference that can be read" if is_secret(place) else str(error))
            return
        for piece in pieces:
            if isinstance(piece, Reference) and "." not in piece.name:
                self.reads.append(Read(piece.name, piece.default, place))

    def _find(self, name: str, hops: int = 0) -> Any:
        """The value written at a place, followed through aliases; ``_NOTHING`` if there is no such place."""
        value: Any = self.tree
        parts = name.split(".")
        for index, part in enumerate(parts):
            if isinstance(value, str) and "${" in value and hops < _MAX_HOPS:
                try:
                    pieces, typed = split(value)
                except ValueError:
                    return _NOTHING
                if not typed or isinstance(pieces[0], str):
                    return _NOTHING
                return self._find(".".join([pieces[0].name, *parts[index:]]), hops + 1)
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return _NOTHING
        return value

    def _siblings(self, name: str) -> Collection[str]:
        value: Any = self.tree
        for part in name.split(".")[:-1]:
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else ()

    def _key(self, key: str, place: str) -> str | None:
        if "${" not in key:
            return key
        leaf = self._leaf(key, place)
        if leaf == UNRESOLVED:
            return None
        pieces = leaf[1:] if isinstance(leaf, list) else [leaf]
        # Keys are needed before the tree is resolved, so a key may refer to plain values only.
        held = [
            self._find(each[2:-2]) if isinstance(each, str) and each.startswith("${") else each
            for each in pieces
        ]
        if any(isinstance(each, dict | list | None) or "${" in str(each) for each in held):
            self._problem(place, "a reference in a key must lead to a plain value")
            return None
        text = "".join(map(spell, held))
        self.renamed[place] = join(place.removesuffix(key).rstrip("."), text)
        return text

    def _joined(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: self._joined(inner, join(place, key)) for key, inner in value.items()}
        if not isinstance(value, list):
            return value
        if not _is_text(value):
            return [self._joined(each, join(place, str(index))) for index, each in enumerate(value)]
        pieces = [self._joined(each, place) for each in value[1:]]
        for piece in pieces:
            if isinstance(piece, dict | list):
                self._problem(place, "a block or list cannot be part of a text")
                return UNRESOLVED
        return UNRESOLVED if UNRESOLVED in pieces else "".join(map(spell, pieces))

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(self.where(place), place, message))


def split(text: str) -> tuple[list[str | Reference], bool]:
    """The pieces of a text, and whether it is one typed reference (``${a}$``).

    Raises:
        ValueError: a brace is not closed, or its content is not a name.
    """
    pieces: list[str | Reference] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at:
            pieces.append(text[at:start])
        depth, end = 1, start + 2
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            raise ValueError(f"the brace of a reference is not closed in {text!r}")
        name, colon, default = text[start + 2 : end - 1].partition(":")
        if not _NAME.fullmatch(name) or not all(name.split(".")):
            raise ValueError(
                f"{text[start:end]!r} is not a reference: one is ${{name}}, ${{a.b}} or ${{name:default}}"
            )
        pieces.append(Reference(name, default if colon else None))
        at = end
    typed = len(pieces) == 1 and text.startswith("${") and text[at:] == "$"
    if not typed and at < len(text):
        pieces.append(text[at:])
    return pieces, typed


def _cut(tree: Any, parts: list[str]) -> None:
    """Put ``UNRESOLVED`` at a place, or as far along its path as the tree goes."""
    for index, part in enumerate(parts):
        key: Any = int(part) if isinstance(tree, list) else part
        below = tree[key]
        if index == len(parts) - 1 or not isinstance(below, dict | list) or _is_text(below):
            tree[key] = UNRESOLVED
            return
        tree = below


def _is_text(value: Any) -> bool:
    return isinstance(value, list) and value[:1] == [_TEXT]
