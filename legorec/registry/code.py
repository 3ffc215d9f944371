"""Functions and classes of one's own that are no bricks, read from source without importing it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from legorec.registry.bricks import RegistryError, did_you_mean, locate
from legorec.registry.classes import lineage
from legorec.registry.modules import HOPS, SignatureError, Source, find_class, parse_source
from legorec.registry.signatures import UNREAD


@dataclass(frozen=True)
class Code:
    """A function, or a class that is made without arguments and called."""

    path: str
    file: Path
    line: int
    is_class: bool
    inputs: Mapping[str, bool]  # what a call takes, in order, and whether it must be given
    says: Mapping[str, Any]  # values that its body gives to names; ``UNREAD`` where they are not written out

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def find_code(path: str) -> Code:
    """What stands at a dotted path.

    Raises:
        RegistryError: nothing does, or it cannot be called with named arguments.
    """
    try:
        return _find_code(path)
    except SignatureError as error:
        raise RegistryError(str(error)) from error


def load_code(code: Code) -> Any:
    """Import it."""
    module, _, name = code.path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@cache
def _find_code(path: str) -> Code:
    module, _, name = path.rpartition(".")
    file = locate(module) if module else None
    if file is None:
        raise RegistryError(f"no module {module!r} on the Python path")
    source = parse_source(module, file)
    owner, called = _function(name, source)
    if called is not None:
        return Code(path, owner.file, called.lineno, False, _inputs(called, owner, 0), {})
    owner, node = find_class(name, source, locate)
    if node is None:
        public = [each for each in (*source.functions, *source.classes) if not each.startswith("_")]
        raise RegistryError(
            f"no function or class {name!r} in {file}; there are {', '.join(public) or 'none'}"
            f"{did_you_mean(name, public)}"
        )
    classes = lineage(node, owner, locate)
    every = [each for one in classes for each in one.body if isinstance(each, ast.FunctionDef)]
    calls = next((each for each in every if each.name == "__call__"), None)
    if calls is None:
        raise RegistryError(f"{owner.file}:{node.lineno} the class {name} has no `__call__`")
    return Code(path, owner.file, node.lineno, True, _inputs(calls, owner, 1), _said(classes))


def _function(name: str, source: Source) -> tuple[Source, ast.FunctionDef | None]:
    """The function of that name, in the file or where the file imports it from."""
    for _ in range(HOPS):
        if name in source.functions:
            return source, source.functions[name]
        if name not in source.imported:
            break
        module, name = source.imported[name]
        file = locate(module)
        if file is None:
            break
        source = parse_source(module, file)
    return source, None


def _inputs(node: ast.FunctionDef, source: Source, skipped: int) -> dict[str, bool]:
    taken = node.args
    if taken.vararg or taken.kwarg or taken.posonlyargs:
        raise SignatureError(
            f"{source.file}:{node.lineno} `{node.name}` must name its arguments, without *args, **kwargs or /"
        )
    plain = [each.arg for each in taken.args[skipped:]]
    first_default = len(taken.args) - skipped - len(taken.defaults)
    found = {name: place < first_default for place, name in enumerate(plain)}
    pairs = zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
    return found | {each.arg: default is None for each, default in pairs}


def _said(classes: list[ast.ClassDef]) -> dict[str, Any]:
    """What the bodies give to names; a class's own counts before that of one above it."""
    found: dict[str, Any] = {}
    for statement in (each for node in reversed(classes) for each in node.body):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = _value(value)
    return found


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return UNREAD
