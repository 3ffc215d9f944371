"""Bricks as text, in Markdown that reads in a terminal too: what they compute, take and fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from legorec.registry.annotations import FieldType, Parameter
from legorec.registry.bricks import Brick, find, names
from legorec.registry.docstrings import arguments, sentences, summary
from legorec.registry.fits import accepts, extras, gives, misfits
from legorec.registry.kinds import KINDS, Kind, takers
from legorec.registry.signatures import UNREAD

WIDTH = 120
ROOT = Path(__file__).parents[2]


def listing() -> str:
    """Every brick of the package, and what the program gives to each kind."""
    return "\n".join([*(glance(kind) for kind in KINDS.values()), offers()])


def glance(kind: Kind, linked: bool = False) -> str:
    """The bricks of a kind on a line each; ``linked`` to where the page has them one by one."""
    rows = []
    for each in (find(kind.name, name) for name in names(kind.name)):
        first = (sentences(each.docstring) or [""])[0]
        joint = [", ".join(_joint(each))] if kind.joint else []
        rows.append(
            [f"[{each.name}](#{kind.name}-{each.name})" if linked else each.name, *joint, _plain(first)]
        )
    return (
        f"## {title(kind)}\n\n{table([kind.said, *([kind.joint] if kind.joint else []), 'computes'], rows)}"
    )


def offers() -> str:
    """What a constructor may name of each kind, and what a ``forward`` may."""
    given: dict[tuple[str, str], list[str]] = {}
    for kind in KINDS.values():
        for offer in kind.offered.items():
            given.setdefault(offer, []).append(kind.said)
    rows = [[f"`{name}`", ", ".join(kinds), text] for (name, text), kinds in given.items()]
    asked = [[f"`{name}`", kind.said, text] for kind in KINDS.values() for name, text in kind.extras.items()]
    nothing = ", ".join(kind.said for kind in KINDS.values() if not kind.offered)
    return (
        "## What the program gives\n\nA constructor that names one of these is given it, and YAML may not "
        "set it. In a brick of another kind the argument\nis the brick's own. Nothing is given to: "
        f"{nothing}."
        f"\n\n{table(['argument', 'of a', 'is'], rows)}\nA `forward` may name these behind its tensors.\n\n"
        f"{table(['asked for', 'by a', 'is'], asked)}"
    )


def details(brick: Brick) -> str:
    """One brick: what it computes, its arguments, what it asks for and what it fits."""
    said = arguments(brick.docstring)
    parts = [f"### {brick.kind} {brick.name}", _where(brick), "", _filled(summary(brick.docstring)), ""]
    lines = [line for each in brick.own for line in _argument(each, said)]
    parts += [*lines, ""] if lines else ["Nothing can be set.", ""]
    if brick.offered:
        given = [_filled(f"`{name}`{_after(name, said)}", "- ") for name in brick.offered]
        parts += ["The program gives", *given, ""]
    if asked := extras(brick):
        parts += [_filled(f"Its `forward` asks for {_listed(asked)}."), ""]
    parts += [_filled(line) for line in _fits(brick)]
    return "\n".join(parts).rstrip() + "\n"


def _where(brick: Brick) -> str:
    path = f"`{brick.module}.{brick.class_name}`"
    if not brick.file.is_relative_to(ROOT):
        return path
    return f"[{path}](../{brick.file.relative_to(ROOT).as_posix()})"


def _argument(each: Parameter, said: Mapping[str, str], block: str = "") -> list[str]:
    """Lines of one argument; a nested block has one for each of its own too."""
    text, name = _after(each.name, said), f"{block}{each.name}"
    if each.type is not None and each.type.form == "block":
        inner = arguments(each.type.block_docstring)
        below = [line for part in each.type.block for line in _argument(part, inner, f"{name}.")]
        return [_filled(f"`{name}` (a block){text}", "- "), *below]
    if each.type is None:
        return [_filled(f"`{block}{each.written}` (cannot be set in YAML: {each.unreadable}){text}", "- ")]
    default = "" if each.required else f" = {_value(each.default)}"
    shown = f"{name}: {_type(each.type)}{default}"
    return [_filled(f"`{shown}`{' (required)' if each.required else ''}{text}", "- ")]


def _after(name: str, said: Mapping[str, str]) -> str:
    return f": {said[name]}" if name in said else ""


def _type(read: FieldType) -> str:
    inner = read.form
    if read.form == "literal":
        inner = " | ".join(map(_value, read.choices))
    elif read.item is not None:
        inner = f"list[{_type(read.item)}]"
    return f"{inner} | null" if read.nullable else inner


def _value(value: Any) -> str:
    """As YAML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if value is None or value is UNREAD:
        return "null" if value is None else "..."
    return str(value).lower() if isinstance(value, bool) else str(value)


def _joint(brick: Brick) -> tuple[str, ...]:
    return accepts(brick) if KINDS[brick.kind].giver else (gives(brick),)


def _fits(brick: Brick) -> list[str]:
    kind = KINDS[brick.kind]
    if not kind.joint:
        return []
    line = f"{kind.joint.capitalize()} {' or '.join(_joint(brick))}."
    for beside in (KINDS[kind.giver],) if kind.giver else takers(kind.name):
        fitting = [
            name for name in names(beside.name) if not misfits({brick.kind: brick.name, beside.name: name})
        ]
        line += f" {title(beside)} that fit: {_listed(fitting)}."
    return [line]


def _listed(found: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in found) or "none"


def title(kind: Kind) -> str:
    """The name of a kind over a section."""
    return f"{kind.said.capitalize()}s"


def _plain(text: str) -> str:
    """Docstrings mark code with two backticks."""
    return text.replace("``", "`")


def _filled(text: str, bullet: str = "") -> str:
    """Lines of at most ``WIDTH``, none of which begins with what Markdown takes for a list or a heading."""
    wrapper = textwrap.TextWrapper(
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
    glued = re.sub(r" (?=[-+*#=>|]|\d+[.)])", "\xa0", _plain(text))
    return wrapper.fill(glued).replace("\xa0", " ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line, so that it reads in a terminal too; the last one is as long as it is."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *escaped, strict=True)][:-1]
    lines = [[*head], ["-" * max(3, width) for width in [*widths, 3]], *escaped]
    shown = [
        " | ".join([*(cell.ljust(max(3, width)) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in lines
    ]
    return "".join(f"| {line} |\n" for line in shown)
