"""What a class's constructor takes, read from its source with ``ast``: names, types, defaults.

The types that YAML can fill are int, float, bool, str, Literal, ``| None``, lists of these, and one nested
block (a dataclass of the same file, or of one that it imports by ``from ... import``). Anything else is
kept as text and cannot be set.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

Locate = Callable[[str], Path | None]


class SignatureError(ValueError):
    """A constructor that is not flat, or not readable."""


class _Unread:
    """Stands for a default that only running the code could tell."""

    def __repr__(self) -> str:
        return "<told by the code>"


UNREAD: Any = _Unread()


@dataclass(frozen=True)
class FieldType:
    """A type that YAML can fill. ``form`` is int, float, bool, str, literal, list or block."""

    form: str
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    item: FieldType | None = None
    block: tuple[Parameter, ...] = ()
    block_name: str = ""
    block_module: str = ""


@dataclass(frozen=True)
class Parameter:
    """One keyword of a constructor. ``type`` is None where YAML cannot fill it."""

    name: str
    annotation: str
    type: FieldType | None
    required: bool
    default: Any = None
    line: int = 0


@dataclass(frozen=True)
class Source:
    """A parsed Python file."""

    module: str
    file: Path
    tree: ast.Module

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Local name -> (module, name there), for ``from module import name`` at any depth of the file."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = (self._absolute(node), alias.name)
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        is_package = self.file.name == "__init__.py"
        parts = self.module.split(".")
        kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
        return ".".join([*kept, node.module] if node.module else kept)


def parse_source(module: str, file: Path) -> Source:
    """Read a file; a syntax error in it is told with its line."""
    try:
        return Source(module, file, ast.parse(file.read_text(encoding="utf-8"), filename=str(file)))
    except SyntaxError as error:
        raise SignatureError(f"{file}:{error.lineno} is not valid Python: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SignatureError(f"{file} cannot be read: {error}") from error


def find_class(
    name: str, source: Source, locate: Locate, hops: int = 5
) -> tuple[Source, ast.ClassDef | None]:
    """The class of that name in the file, or where the file imports it from."""
    while hops and name not in source.classes and name in source.imported:
        module, name = source.imported[name]
        file = locate(module)
        if file is None:
            break
        source, hops = parse_source(module, file), hops - 1
    return source, source.classes.get(name)


def parameters_of(node: ast.ClassDef, source: Source, locate: Locate, hops: int = 5) -> tuple[Parameter, ...]:
    """The keywords of a class's constructor, a dataclass's fields, or those of the base it inherits from."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _from_init(statement, node.name, source, locate)
    inherited: tuple[Parameter, ...] = ()
    for base in node.bases if hops else ():
        if isinstance(base, ast.Name):
            owner, found = find_class(base.id, source, locate)
            if found is not None:
                inherited = parameters_of(found, owner, locate, hops - 1)
                break
    if not _is_dataclass(node):
        return inherited
    own = _from_fields(node, source, locate)
    replaced = {each.name: each for each in own}
    kept = tuple(replaced.pop(each.name, each) for each in inherited)
    return (*kept, *replaced.values())


def _from_init(
    init: ast.FunctionDef, class_name: str, source: Source, locate: Locate
) -> tuple[Parameter, ...]:
    taken = init.args
    if taken.vararg or taken.kwarg or taken.posonlyargs:
        raise SignatureError(
            f"{source.file}:{init.lineno} the constructor of {class_name} must be flat: named keywords only, "
            "without *args, **kwargs or /"
        )
    plain = taken.args[1:]
    missing = [None] * (len(plain) - len(taken.defaults))
    pairs = [*zip(plain, [*missing, *taken.defaults], strict=True)]
    pairs += [*zip(taken.kwonlyargs, taken.kw_defaults, strict=True)]
    return tuple(_parameter(arg.arg, arg.annotation, default, arg, source, locate) for arg, default in pairs)


def _from_fields(node: ast.ClassDef, source: Source, locate: Locate) -> tuple[Parameter, ...]:
    found = []
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        text = ast.unparse(statement.annotation)
        if text.split("[")[0].split(".")[-1] in ("ClassVar", "KW_ONLY"):
            continue
        default = statement.value
        if isinstance(default, ast.Call) and ast.unparse(default.func).split(".")[-1] == "field":
            given = {word.arg: word.value for word in default.keywords}
            if isinstance(given.get("init"), ast.Constant) and not given["init"].value:  # type: ignore[attr-defined]
                continue
            default = given.get("default", default if "default_factory" in given else None)
        found.append(
            _parameter(statement.target.id, statement.annotation, default, statement, source, locate)
        )
    return tuple(found)


def _parameter(
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    at: ast.AST,
    source: Source,
    locate: Locate,
) -> Parameter:
    text = ast.unparse(annotation) if annotation is not None else ""
    read = _field_type(annotation, source, locate) if annotation is not None else None
    value: Any = None
    if default is not None:
        try:
            value = ast.literal_eval(default)
        except ValueError:
            value = UNREAD
    return Parameter(name, text, read, default is None, value, getattr(at, "lineno", 0))


def _is_dataclass(node: ast.ClassDef) -> bool:
    for each in node.decorator_list:
        called = each.func if isinstance(each, ast.Call) else each
        if ast.unparse(called).split(".")[-1] == "dataclass":
            return True
    return False


def _field_type(node: ast.expr, source: Source, locate: Locate) -> FieldType | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _field_type(ast.parse(node.value, mode="eval").body, source, locate)
    members = _members(node)
    if len(members) > 1:
        rest = [each for each in members if not _is_none(each)]
        inner = _field_type(rest[0], source, locate) if len(rest) == 1 else None
        if inner is None or len(rest) == len(members):
            return None
        return replace(inner, nullable=True)
    if isinstance(node, ast.Name) and node.id in ("int", "float", "bool", "str"):
        return FieldType(node.id)
    if isinstance(node, ast.Subscript):
        return _subscripted(node, source, locate)
    if isinstance(node, ast.Name):
        owner, found = find_class(node.id, source, locate)
        if found is not None and _is_dataclass(found):
            block = parameters_of(found, owner, locate)
            return FieldType("block", block=block, block_name=found.name, block_module=owner.module)
    return None


def _subscripted(node: ast.Subscript, source: Source, locate: Locate) -> FieldType | None:
    outer = ast.unparse(node.value).split(".")[-1]
    if outer == "Literal":
        try:
            choices = ast.literal_eval(node.slice)
        except ValueError:
            return None
        choices = choices if isinstance(choices, tuple) else (choices,)
        return FieldType(
            "literal", nullable=None in choices, choices=tuple(c for c in choices if c is not None)
        )
    if outer in ("list", "List", "Sequence"):
        item = _field_type(node.slice, source, locate)
        return FieldType("list", item=item) if item is not None and item.form != "block" else None
    return None


def _members(node: ast.expr) -> list[ast.expr]:
    """The members of a union, written with ``|``, Optional or Union."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_members(node.left), *_members(node.right)]
    if isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).split(".")[-1]
        if outer == "Optional":
            return [*_members(node.slice), ast.Constant(None)]
        if outer == "Union" and isinstance(node.slice, ast.Tuple):
            return [member for each in node.slice.elts for member in _members(each)]
    return [node]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
