"""YAML files with the line of every setting, and ``$$import``.

RefConfig can read files itself, but it opens them for writing, does not know lines, takes the last of two
equal keys and ends in a traceback on an empty file. So files are read here, and RefConfig gets the tree
(``references.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from legorec.compose.problems import UNRESOLVED, Problem
from legorec.compose.scalars import TAG, SettingsLoader, scalar
from legorec.registry import nearest
from legorec.shipped import SUFFIXES, config_file, is_bare, layer_names

IMPORT = "$$import"
MAX_NODES = 100_000  # a file of nested aliases can name more nodes than memory holds
MAX_DEPTH = 50


@dataclass
class Document:
    """A tree, and where each of its dotted places was written (``file:line``)."""

    tree: Any = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    failed: bool = False  # a part could not be read, so a missing place is not another problem


def join(*parts: str) -> str:
    """A dotted place; empty parts are left out."""
    return ".".join(part for part in parts if part)


def put(document: Document, parent: Any, place: str, key: str, value: Any, origins: dict[str, str]) -> None:
    """Set ``parent[key]``, the block at ``place``, and replace the origins of the old block."""
    here = join(place, key)
    for old in [each for each in document.origins if each == here or each.startswith(here + ".")]:
        del document.origins[old]
    document.origins.update(origins)
    parent[int(key) if isinstance(parent, list) else key] = value


def read_document(path: str, problems: list[Problem], chain: tuple[str, ...] = ()) -> Document:
    """A file with its imports merged beneath it: later imports win over earlier ones, own keys over all."""
    own = _parse_file(path, problems)
    listed = own.tree.pop(IMPORT, [])
    at = own.origins.pop(IMPORT, path)
    imported = [listed] if isinstance(listed, str) else listed
    if not isinstance(imported, list) or not all(isinstance(each, str) for each in imported):
        problems.append(Problem(at, IMPORT, f"must be a file name or a list of file names, got {listed!r}"))
        imported, own.failed = [], True
    merged = Document()
    chain = (*chain, os.path.realpath(path))
    for each in imported:
        if each == UNRESOLVED:
            merged.failed = True
            continue
        target = named_in(path, each)
        if not os.path.isfile(target):
            problems.append(Problem(at, IMPORT, missing_file(target)))
            merged.failed = True
        elif os.path.realpath(target) in chain:
            problems.append(Problem(at, IMPORT, f"{each!r} imports itself in a circle"))
            merged.failed = True
        else:
            merge(merged, read_document(target, problems, chain))
    return merge(merged, own)


def named_in(path: str, named: str) -> str:
    """The file that another one names: from its own folder, or as a whole path ``config/...``."""
    beside = config_file(os.path.normpath(os.path.join(os.path.dirname(path), named)))
    return beside if os.path.isfile(beside) or not os.path.isfile(config_file(named)) else config_file(named)


def missing_file(path: str, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The message for a file that does not exist, with the nearest one that does."""
    if os.path.isdir(path):
        return f"{path} is a folder, a file is wanted"
    folder = Path(path).parent
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        return f"no file {path}: the folder {folder} does not exist"
    there = sorted(each.name for each in folder.iterdir() if each.suffix in suffixes)
    stems = {Path(each).stem: each for each in there}
    near = nearest(Path(path).stem, stems)
    shown = f"; {folder} holds {', '.join(there[:12])}{', ...' if len(there) > 12 else ''}" if there else ""
    return f"no file {path}{shown}" + (f"; did you mean {str(folder / stems[near])!r}?" if near else "")


def missing_layer(layer: str, path: str) -> str:
    """``missing_file``, of a layer whose files have bare names: with the nearest of these, or all."""
    if not is_bare(layer, path) or os.path.isdir(path):
        return missing_file(path)
    names = layer_names(layer)
    near = nearest(Path(path).stem, names)
    rest = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
    return f"no {layer} {Path(path).stem!r} in config/{layer}, here or in the library; {rest}"


def merge(base: Document, added: Document) -> Document:
    """The base, into which another document was merged block by block."""

    def fill(target: dict[str, Any], tree: dict[str, Any], place: str) -> None:
        for key, value in tree.items():
            here = join(place, key)
            if isinstance(value, dict) and value and isinstance(target.get(key), dict):
                fill(target[key], value, here)
            else:
                below = {k: v for k, v in added.origins.items() if k == here or k.startswith(here + ".")}
                put(base, target, place, key, value, below)

    fill(base.tree, added.tree, "")
    base.failed |= added.failed
    return base


def _parse_file(path: str, problems: list[Problem]) -> Document:
    if not path.endswith(SUFFIXES):
        problems.append(Problem(path, "", f"a config file ends in {', '.join(SUFFIXES)}"))
        return Document(failed=True)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        problems.append(Problem(path, "", f"cannot be read: {error.strerror}"))
        return Document(failed=True)
    except UnicodeDecodeError as error:
        problems.append(Problem(path, "", f"is not UTF-8 text (byte {error.start})"))
        return Document(failed=True)
    before = len(problems)
    document = parse_text(text, path, problems)
    if isinstance(document.tree, dict):
        return document
    if len(problems) == before:
        what = "the file is empty" if document.tree is None else "a config file holds `key: value` lines"
        problems.append(Problem(f"{path}:1", "", what))
    return Document(failed=True)


def parse_text(text: str, path: str, problems: list[Problem]) -> Document:
    """The one value of a YAML text, built only with the constructors of plain data."""
    try:
        node = _node(text)
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax(path, text, error))
    except (yaml.YAMLError, RecursionError) as error:
        problems.append(Problem(path, "", f"is not valid YAML: {str(error).splitlines()[0]}"))
    else:
        builder = _Builder(path, problems)
        tree = None if node is None else builder.value(node, "", ())
        return Document(tree, builder.origins)
    return Document(tree=None, failed=True)


@lru_cache(maxsize=128)
def _node(text: str) -> yaml.Node | None:
    """The nodes of a YAML text. Most of reading settings goes into this, and stages share their files."""
    return yaml.compose(text, Loader=SettingsLoader)


def _syntax(path: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    written = (text.splitlines() or [""])[min(line, len(text.splitlines())) - 1] if text else ""
    hint = "; inside {...} or [...] a reference must be quoted: '${key}$'" if "${" in written else ""
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(f"{path}:{line}", "", f"is not valid YAML: {what}{hint}")


class _Builder:
    """Builds plain values from YAML nodes and notes the line of each place."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self.origins: dict[str, str] = {}
        self.nodes = 0

    def value(self, node: yaml.Node, place: str, above: tuple[int, ...], line: int | None = None) -> Any:
        origin = f"{self.path}:{(node.start_mark.line if line is None else line) + 1}"
        if place:
            self.origins[place] = origin
        self.nodes += 1
        if id(node) in above or len(above) > MAX_DEPTH or self.nodes > MAX_NODES:
            if self.nodes <= MAX_NODES + 1:
                self.problems.append(
                    Problem(origin, place, "nested too deep, or an alias inside its own anchor")
                )
            return UNRESOLVED
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            return self._mapping(node, place, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            below = (*above, id(node))
            return [self.value(each, join(place, str(i)), below) for i, each in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in {
            TAG + n for n in ("str", "null", "bool", "int", "float")
        }:
            try:
                return scalar(node.tag, node.value)
            except ValueError as error:
                self.problems.append(Problem(origin, place, str(error)))
                return UNRESOLVED
        self.problems.append(
            Problem(origin, place, f"the YAML tag {node.tag!r} is refused: config is plain data")
        )
        return UNRESOLVED

    def _mapping(self, node: yaml.MappingNode, place: str, above: tuple[int, ...]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            origin = f"{self.path}:{line + 1}"
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != TAG + "str" or not key:
                self.problems.append(Problem(origin, place, f"a key must be text, got {key!r}; quote it"))
            elif key == "<<":
                self.problems.append(
                    Problem(origin, join(place, key), f"is not read; use {IMPORT} or a reference")
                )
            elif key == IMPORT and place:
                self.problems.append(Problem(origin, join(place, key), "is only for the top of a file"))
            elif key in tree:
                first = self.origins[join(place, key)]
                self.problems.append(Problem(origin, join(place, key), f"is written twice, first at {first}"))
            else:
                tree[key] = self.value(value_node, join(place, key), above, line)
        return tree
