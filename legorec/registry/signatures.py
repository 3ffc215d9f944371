"""What a class's constructor takes, read from its source with ``ast``: names, types, defaults.

An argument whose type YAML cannot fill is kept with the reason, and cannot be set.
"""

from __future__ import annotations

import ast
from typing import Any

from legorec.registry.annotations import Parameter, Reading, UnreadableError, is_dataclass, read_type
from legorec.registry.modules import HOPS, Locate, SignatureError, Source, bases_of, find_class, head_of


class _Unread:
    """Stands for a default that only running the code could tell."""

    def __repr__(self) -> str:
        return "<told by the code>"


UNREAD: Any = _Unread()


def parameters_of(node: ast.ClassDef, source: Source, locate: Locate) -> tuple[Parameter, ...]:
    """The keywords of a class's constructor, a dataclass's fields, or those of the base it inherits from.

    Raises:
        SignatureError: the constructor is not flat, or is inherited from a class whose source is not found.
    """
    return _parameters_of(node, Reading(source, locate, _parameters_of))


def _parameters_of(node: ast.ClassDef, reading: Reading, hops: int = HOPS) -> tuple[Parameter, ...]:
    found = _constructor(node, reading, hops)
    return () if found is None else found


def _constructor(node: ast.ClassDef, reading: Reading, hops: int) -> tuple[Parameter, ...] | None:
    """None where neither the class nor one above it has a constructor of its own."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _from_init(statement, node.name, reading)
    inherited = _inherited(node, reading, hops)
    if not is_dataclass(node):
        return inherited
    replaced = {each.name: each for each in _from_fields(node, reading)}
    kept = tuple(replaced.pop(each.name, each) for each in inherited or ())
    return (*kept, *replaced.values())


def _inherited(node: ast.ClassDef, reading: Reading, hops: int) -> tuple[Parameter, ...] | None:
    for base in bases_of(node, reading.source):
        owner, above = find_class(base, reading.source, reading.locate)
        if above is not None and hops:
            inner = Reading(owner, reading.locate, reading.fields, reading.behind)
            found = _constructor(above, inner, hops - 1)
            if found is not None:
                return found
        else:
            raise SignatureError(
                f"{reading.source.file}:{node.lineno} {node.name} inherits from {ast.unparse(base)}, whose "
                f"source is not found; give {node.name} an `__init__` that names its arguments"
            )
    return None


def _from_init(init: ast.FunctionDef, class_name: str, reading: Reading) -> tuple[Parameter, ...]:
    taken = init.args
    if taken.vararg or taken.kwarg or taken.posonlyargs:
        raise SignatureError(
            f"{reading.source.file}:{init.lineno} the constructor of {class_name} must be flat: named "
            "keywords only, without *args, **kwargs or /"
        )
    plain = taken.args[1:]
    missing = [None] * (len(plain) - len(taken.defaults))
    pairs = [*zip(plain, [*missing, *taken.defaults], strict=True)]
    pairs += [*zip(taken.kwonlyargs, taken.kw_defaults, strict=True)]
    return tuple(_parameter(arg.arg, arg.annotation, default, arg, reading) for arg, default in pairs)


def _from_fields(node: ast.ClassDef, reading: Reading) -> tuple[Parameter, ...]:
    found = []
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if head_of(statement.annotation, reading.source) in ("ClassVar", "KW_ONLY"):
            continue
        default = statement.value
        if isinstance(default, ast.Call) and head_of(default.func, reading.source) == "field":
            given = {word.arg: word.value for word in default.keywords}
            if isinstance(given.get("init"), ast.Constant) and not given["init"].value:  # type: ignore[attr-defined]
                continue
            default = given.get("default", default if "default_factory" in given else None)
        found.append(_parameter(statement.target.id, statement.annotation, default, statement, reading))
    return tuple(found)


def _parameter(
    name: str, annotation: ast.expr | None, default: ast.expr | None, at: ast.AST, reading: Reading
) -> Parameter:
    read, unreadable = None, ""
    try:
        read = read_type(annotation, reading)
    except UnreadableError as error:
        unreadable = str(error)
    except SignatureError as error:  # of a block, or of a file that an alias is imported from
        unreadable = str(error)
    except RecursionError:
        unreadable = "its annotation is nested too deeply"
    text = ast.unparse(annotation) if annotation is not None else ""
    value = _value(default) if default is not None else None
    place = f"{reading.source.file}:{getattr(at, 'lineno', 0)}"
    return Parameter(name, text, read, default is None, value, place, unreadable)


def _value(default: ast.expr) -> Any:
    """A default that YAML could hold."""
    try:
        read = ast.literal_eval(default)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return UNREAD
    return read if _is_plain(read) else UNREAD


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor NaN
    return value is None or isinstance(value, bool | int | str)
