"""Python files as ``ast`` reads them: their classes, their aliases, and where an imported name is defined."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

Locate = Callable[[str], Path | None]  # the file of a module by its dotted name
HOPS = 8  # from file to file, and from base class to base class
# Classes that bring neither a constructor of arguments nor anything else that is read of a brick.
BARE = ("object", "ABC", "Module", "Generic", "Protocol")


class SignatureError(ValueError):
    """A constructor that is not flat, or not readable."""


@dataclass(frozen=True)
class Source:
    """A parsed Python file."""

    module: str
    file: Path
    tree: ast.Module

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in _statements(self.tree) if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in _statements(self.tree) if isinstance(node, ast.FunctionDef)}

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        """Local name -> what stands behind its ``=``, such as the type that an alias is another name for."""
        found: dict[str, ast.expr] = {}
        alias = getattr(ast, "TypeAlias", None)  # `type Gate = ...`, from Python 3.12 on
        for node in _statements(self.tree):
            if isinstance(node, ast.Assign):
                found |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found |= {node.target.id: node.value} if node.value is not None else {}
            elif alias is not None and isinstance(node, alias):
                found[node.name.id] = node.value
        return found

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Local name -> (module, name there), for ``from module import name`` at any depth of the file."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = (self._absolute(node), alias.name)
        return found

    @cached_property
    def modules(self) -> dict[str, str]:
        """How a module is written in the file -> its dotted name, for ``import module``."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.Import)]
        return {alias.asname or alias.name: alias.name for node in nodes for alias in node.names}

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        is_package = self.file.name == "__init__.py"
        parts = self.module.split(".")
        kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
        return ".".join([*kept, node.module] if node.module else kept)


class Defined(NamedTuple):
    """Where a name is defined, and what as: a class, or another name for a type; neither is not found."""

    source: Source
    name: str
    node: ast.ClassDef | ast.expr | None


def parse_source(module: str, file: Path) -> Source:
    """Read a file; a syntax error in it is told with its line."""
    try:
        return Source(module, file, ast.parse(file.read_text(encoding="utf-8"), filename=str(file)))
    except SyntaxError as error:
        raise SignatureError(f"{file}:{error.lineno} is not valid Python: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise SignatureError(f"{file} cannot be read: {error}") from error


def defined(name: ast.Name | ast.Attribute, source: Source, locate: Locate) -> Defined:
    """What ``Gate`` or ``types.Gate`` stands for, in this file or in the one that it is imported from."""
    if isinstance(name, ast.Name):
        return look_up(name.id, source, locate)
    written = ast.unparse(name.value)
    module = source.modules.get(written)
    if module is None and written in source.imported:
        module = ".".join(source.imported[written])
    file = locate(module) if module else None
    if module is None or file is None:
        return Defined(source, ast.unparse(name), None)
    return look_up(name.attr, parse_source(module, file), locate)


def look_up(name: str, source: Source, locate: Locate) -> Defined:
    """The class or the alias of that name in the file, or where the file imports it from."""
    for _ in range(HOPS):
        if name in source.classes:
            return Defined(source, name, source.classes[name])
        if name in source.assigned:
            return Defined(source, name, source.assigned[name])
        if name not in source.imported:
            break
        module, there = source.imported[name]
        file = locate(module)
        if file is None:
            break
        source, name = parse_source(module, file), there
    return Defined(source, name, None)


def find_class(name: str | ast.expr, source: Source, locate: Locate) -> tuple[Source, ast.ClassDef | None]:
    """The class of that name, ``Renamed = Hyper`` followed, in the file or where the file imports it from."""
    node: ast.AST | None = ast.Name(name) if isinstance(name, str) else name
    for _ in range(HOPS):
        if isinstance(node, ast.Subscript):  # `Base[Tensor]`
            node = node.value
        if not isinstance(node, ast.Name | ast.Attribute):
            break
        source, _, node = defined(node, source, locate)
    return source, node if isinstance(node, ast.ClassDef) else None


def bases_of(node: ast.ClassDef, source: Source) -> list[ast.expr]:
    """The classes that one inherits from, apart from those that bring nothing."""
    return [each for each in node.bases if head_of(each, source) not in BARE or _is_own(each, source)]


def _is_own(base: ast.expr, source: Source) -> bool:
    return isinstance(base, ast.Name) and base.id in source.classes


def head_of(node: ast.expr, source: Source) -> str:
    """What ``Literal``, ``t.Literal`` or an import under another name is called where it comes from."""
    if isinstance(node, ast.Subscript):
        return head_of(node.value, source)
    if isinstance(node, ast.Name) and node.id in source.imported:
        return source.imported[node.id][1]
    return ast.unparse(node).split(".")[-1]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a file, those under an ``if``, a ``try`` or a ``with`` too."""
    waiting: list[ast.stmt] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            inner = [*node.body, *getattr(node, "orelse", [])]
            inner += [each for handler in getattr(node, "handlers", []) for each in handler.body]
            waiting += reversed(inner)
