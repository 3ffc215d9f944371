"""Annotations as types that YAML can fill, read from source; what cannot be read says why.

These are int, float, bool, str, Literal, ``| None``, lists of these, and a block: a dataclass of these.
Other names for them (``Gate = Literal["a", "b"]``) are followed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from legorec.registry.modules import HOPS, Locate, Source, defined, head_of

PLAIN = ("int", "float", "bool", "str")
LISTS = ("list", "List", "Sequence")
# Around a type, without a say in what may be written.
WRAPPERS = ("Annotated", "Final", "InitVar", "Required", "NotRequired", "ReadOnly")
WRITE = (
    "write int, float, bool, str, Literal['a', 'b'], one of these | None, a list of these, or a dataclass "
    "with such fields"
)
# What is written in place of a type that is not read, where that is not plain from ``WRITE``.
INSTEAD = {
    "tuple": "write list[int] for tuple[int, ...]",
    "Tuple": "write list[int] for Tuple[int, ...]",
    "set": "write list[str] for set[str]",
    "dict": "write a dataclass that has its keys as fields",
    "Dict": "write a dataclass that has its keys as fields",
    "Mapping": "write a dataclass that has its keys as fields",
    "TypedDict": "write a dataclass that has its keys as fields",
    "NamedTuple": "write a dataclass with the same fields",
    "Enum": "write Literal['a', 'b'] of its values",
    "StrEnum": "write Literal['a', 'b'] of its values",
    "IntEnum": "write Literal[1, 2] of its values",
    "Callable": "write Literal['relu', 'gelu'] and choose in the constructor",
    "Path": "write str",
    "Literal": "write out its choices: texts, whole numbers, true or false",
    "list": "write of what, as in list[int]",
    "List": "write of what, as in list[int]",
    "Sequence": "write of what, as in list[int]",
}


class UnreadableError(ValueError):
    """An annotation that is no type that YAML can fill; the message says why, and what to write."""


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
    block_docstring: str = ""


@dataclass(frozen=True)
class Parameter:
    """One keyword of a constructor; ``type`` is None where YAML cannot fill it, ``unreadable`` says why."""

    name: str
    annotation: str
    type: FieldType | None
    required: bool
    default: Any = None
    place: str = field(default="", compare=False)  # file and line
    unreadable: str = ""

    @property
    def written(self) -> str:
        """As the constructor has it, without its default."""
        return f"{self.name}: {self.annotation}" if self.annotation else self.name


def unreadable(parameters: Iterable[Parameter]) -> dict[str, str]:
    """For each that YAML cannot fill: where it stands, why, and what to write."""
    return {
        each.name: f"cannot be set: `{each.written}` ({each.place}) cannot be read, as {each.unreadable}"
        for each in parameters
        if each.type is None
    }


@dataclass(frozen=True)
class Reading:
    """Where an annotation stands, and which aliases and blocks led to it."""

    source: Source
    locate: Locate
    fields: Callable[[ast.ClassDef, Reading], tuple[Parameter, ...]]
    behind: tuple[tuple[str, str], ...] = ()


def read_type(node: ast.expr | None, reading: Reading) -> FieldType:
    """The type of an annotation.

    Raises:
        UnreadableError: it is none that YAML can fill.
    """
    if node is None:
        raise UnreadableError(f"it has no annotation; {WRITE}")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            inside = ast.parse(node.value.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise UnreadableError(f"{node.value!r} is no type; {WRITE}") from None
        return read_type(inside, reading)
    members = _members(node, reading.source)
    if len(members) > 1 or members[0] is not node:
        return _union(node, members, reading)
    if isinstance(node, ast.Subscript):
        return _subscripted(node, reading)
    if isinstance(node, ast.Name) and node.id in PLAIN:
        return FieldType(node.id)
    if isinstance(node, ast.Name | ast.Attribute):
        return _named(node, reading)
    raise _unreadable(node)


def _union(node: ast.expr, members: list[ast.expr], reading: Reading) -> FieldType:
    rest = [each for each in members if not (isinstance(each, ast.Constant) and each.value is None)]
    read = [read_type(each, reading) for each in rest]
    nullable = len(rest) < len(members) or any(each.nullable for each in read)
    if read and all(each.form == "literal" for each in read):
        choices = tuple(dict.fromkeys(choice for each in read for choice in each.choices))
        return FieldType("literal", nullable, choices)
    if len(read) != 1:
        raise UnreadableError(f"{ast.unparse(node)} is not one type, or one type | None; {WRITE}")
    return replace(read[0], nullable=nullable)


def _subscripted(node: ast.Subscript, reading: Reading) -> FieldType:
    outer = head_of(node.value, reading.source)
    if outer == "Literal":
        return _literal(node, reading)
    if outer in WRAPPERS:
        inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
        return read_type(inner, reading)
    if outer in LISTS and not isinstance(node.slice, ast.Tuple):
        item = read_type(node.slice, reading)
        if item.form == "block":
            raise UnreadableError(f"{ast.unparse(node)} is a list of blocks; {WRITE}")
        return FieldType("list", item=item)
    raise _unreadable(node, outer)


def _literal(node: ast.Subscript, reading: Reading) -> FieldType:
    choices: list[Any] = []
    nullable = False
    for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
        try:
            value = ast.literal_eval(part)
        except (ValueError, TypeError, SyntaxError):
            if not isinstance(part, ast.Subscript | ast.Name | ast.Attribute):
                raise _unreadable(node, "Literal") from None
            try:
                inner = read_type(part, reading)  # Literal[Gate, "c"]
            except UnreadableError:
                raise _unreadable(node, "Literal") from None
            if inner.form != "literal":
                raise _unreadable(node, "Literal") from None
            choices += inner.choices
            nullable |= inner.nullable
            continue
        if value is None:
            nullable = True
        elif isinstance(value, str | int):
            choices.append(value)
        else:
            raise _unreadable(node, "Literal")
    if not choices:
        raise _unreadable(node, "Literal")
    return FieldType("literal", nullable, tuple(choices))


def _named(node: ast.Name | ast.Attribute, reading: Reading) -> FieldType:
    """A dataclass, or another name for a type."""
    source, name, found = defined(node, reading.source, reading.locate)
    key = (source.module, name)
    if found is None:
        raise _unreadable(node, head_of(node, reading.source))
    if key in reading.behind or len(reading.behind) > HOPS:
        raise UnreadableError(f"{name} ({source.file}:{found.lineno}) is defined by itself; {WRITE}")
    inner = replace(reading, source=source, behind=(*reading.behind, key))
    if isinstance(found, ast.ClassDef):
        if not is_dataclass(found):
            called = [found.name, *(head_of(each, source) for each in found.bases)]
            raise _unreadable(node, next((each for each in called if each in INSTEAD), ""))
        block = reading.fields(found, inner)
        for each in block:
            if each.type is None and each.required:
                raise UnreadableError(
                    f"the field `{each.written}` ({each.place}) of {name} cannot be read, as "
                    f"{each.unreadable}"
                )
        return FieldType(
            "block",
            block=block,
            block_name=found.name,
            block_module=source.module,
            block_docstring=ast.get_docstring(found) or "",
        )
    if isinstance(found, ast.Call):
        if head_of(found.func, source) == "NewType" and len(found.args) == 2:
            return read_type(found.args[1], inner)
        raise _unreadable(node, head_of(found.func, source))
    return read_type(found, inner)


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether it is decorated as one."""
    called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return any(ast.unparse(each).split(".")[-1] == "dataclass" for each in called)


def _members(node: ast.expr, source: Source) -> list[ast.expr]:
    """The members of a union, written with ``|``, Optional or Union."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_members(node.left, source), *_members(node.right, source)]
    if isinstance(node, ast.Subscript):
        outer = head_of(node.value, source)
        if outer == "Optional":
            return [*_members(node.slice, source), ast.Constant(None)]
        if outer == "Union":
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return [member for each in parts for member in _members(each, source)]
    return [node]


def _unreadable(node: ast.expr, head: str = "") -> UnreadableError:
    return UnreadableError(f"{ast.unparse(node)} is no type that YAML can fill; {INSTEAD.get(head, WRITE)}")
