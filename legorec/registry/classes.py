"""What a class says beside its constructor, read from its source with ``ast``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from legorec.registry.modules import HOPS, Locate, SignatureError, Source, bases_of, find_class

# Attributes by which bricks say what they go with: one name, or several. ``needs_interests`` names arguments
# that, where they are not 0, need a user encoder that gives interests.
# ``places`` names arguments that say where something lies, or how much room it has.
GIVES, TAKES = ("gives",), ("reads", "takes", "needs_interests", "places")


def lineage(node: ast.ClassDef, source: Source, locate: Locate, hops: int = HOPS) -> list[ast.ClassDef]:
    """The class and those it inherits from, as far as their source is found; its own come first."""
    found = [node]
    for base in bases_of(node, source) if hops else ():
        owner, above = find_class(base, source, locate)
        if above is not None:
            found += lineage(above, owner, locate, hops - 1)
    return found


def methods_of(classes: Sequence[ast.ClassDef]) -> tuple[str, ...]:
    """The names of all methods."""
    every = (each for node in classes for each in node.body if isinstance(each, ast.FunctionDef))
    return tuple(dict.fromkeys(each.name for each in every))


def inputs_of(classes: Sequence[ast.ClassDef]) -> dict[str, bool]:
    """What ``forward`` takes, and whether it must be given; nothing where there is none."""
    for statement in (each for node in classes for each in node.body):
        if isinstance(statement, ast.FunctionDef) and statement.name == "forward":
            taken = statement.args
            plain = [each.arg for each in taken.args[1:]]
            first_default = len(plain) - len(taken.defaults)
            found = {name: place < first_default for place, name in enumerate(plain)}
            pairs = zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
            return found | {each.arg: default is None for each, default in pairs}
    return {}


def joints_of(classes: Sequence[ast.ClassDef], source: Source) -> dict[str, Any]:
    """``gives``, ``reads`` and ``takes``, where the class or one above it has them.

    Raises:
        SignatureError: one is not written out, or is a name where several are expected, or the other way.
    """
    found: dict[str, Any] = {}
    for node in reversed(classes):
        for statement in node.body:
            targets: list[ast.expr] = []
            if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                targets, value = [statement.target], statement.value
            elif isinstance(statement, ast.Assign):
                targets, value = statement.targets, statement.value
            for target in targets:
                if isinstance(target, ast.Name) and target.id in (*GIVES, *TAKES):
                    found[target.id] = _joint(target.id, value, f"{source.file}:{statement.lineno}")
    return found


def _joint(name: str, value: ast.expr, place: str) -> Any:
    try:
        read = ast.literal_eval(value)
    except (ValueError, TypeError):
        read = None
    several = isinstance(read, tuple) and all(isinstance(each, str) for each in read)
    if isinstance(read, str) if name in GIVES else several:
        return read
    wanted = "a text, as in 'vector'" if name in GIVES else "a tuple of texts, as in ('vector',)"
    raise SignatureError(f"{place} `{name}` must be {wanted}, written out; got {ast.unparse(value)}")
