"""The catalogue as a page: every brick, its arguments and what it fits, and the models made of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from legorec.registry.bricks import KINDS, OFFERED, Brick, find, names
from legorec.registry.docstrings import arguments, sentences, summary
from legorec.registry.fits import EXTRAS, accepts, extras, gives, misfits
from legorec.registry.signatures import UNREAD, FieldType, Parameter

WIDTH = 120
ROOT = Path(__file__).parents[2]
MODELS = ROOT / "config" / "model"
HEAD = """\
# Catalogue

Written by `python -m legorec.registry > docs/catalogue.md` from the source of the bricks; what is wrong here
is wrong there. `python -m legorec.registry item_encoder nrms` prints one brick, also one of your own by its
dotted path. What the kinds are is in [bricks.md](bricks.md), how to add a brick in
[add-a-brick.md](add-a-brick.md).
"""
# How a brick says what it goes with, and the kinds of bricks beside it.
JOINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "source": ("gives", ("item_encoder",)),
    "item_encoder": ("reads", ("source",)),
    "user_encoder": ("gives", ("predictor", "user_plugin")),
    "user_plugin": ("takes", ("user_encoder",)),
    "predictor": ("takes", ("user_encoder",)),
}


def page() -> str:
    """The whole catalogue in Markdown."""
    bricks = {kind: [find(kind, name) for name in names(kind)] for kind in KINDS}
    parts = [HEAD, *(_glance(kind, each) for kind, each in bricks.items())]
    if MODELS.is_dir():
        parts.append(_models())
    parts.append(_offers())
    for kind, each in bricks.items():
        parts += [f"## The {_said(kind)}s one by one\n", *(details(brick) for brick in each)]
    return "\n".join(parts)


def details(brick: Brick) -> str:
    """One brick: what it computes, its arguments, what it asks for and what it fits."""
    said = arguments(brick.docstring)
    parts = [f"### {brick.kind} {brick.name}", _where(brick), "", _filled(summary(brick.docstring)), ""]
    lines = [line for each in brick.settable for line in _argument(each, said, brick.kind)]
    parts += [*lines, ""] if lines else ["Nothing can be set.", ""]
    if brick.offered:
        given = [_filled(f"`{name}`{_after(name, said)}", "- ") for name in brick.offered]
        parts += ["The program gives", *given, ""]
    if asked := extras(brick):
        parts += [_filled(f"Its `forward` asks for {_listed(asked)}."), ""]
    parts += [_filled(line) for line in _fits(brick)]
    return "\n".join(parts).rstrip() + "\n"


def models(folder: Path = MODELS) -> dict[str, dict[str, str]]:
    """Each model file's bricks by kind, imports resolved."""
    trees = {path.stem: _merged(path) for path in sorted(folder.glob("*.yaml"))}
    return {
        stem: {kind: tree[kind]["name"] for kind in KINDS if tree.get(kind)} for stem, tree in trees.items()
    }


def _merged(path: Path) -> dict[str, Any]:
    """A file over those that it imports. ``legorec.compose`` reads the registry, so it cannot be asked here;
    names of bricks hold no references, which are all that is left out."""
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    imported = own.pop("$$import", [])
    tree: dict[str, Any] = {}
    for each in [imported] if isinstance(imported, str) else imported:
        _lay_over(tree, _merged(path.parent / each))
    _lay_over(tree, own)
    return tree


def _lay_over(tree: dict[str, Any], added: Mapping[str, Any]) -> None:
    for key, value in added.items():
        if isinstance(value, dict) and value and isinstance(tree.get(key), dict):
            _lay_over(tree[key], value)
        else:
            tree[key] = value


def _glance(kind: str, bricks: list[Brick]) -> str:
    word = JOINTS[kind][0] if kind in JOINTS else ""
    rows = []
    for each in bricks:
        first = (sentences(each.docstring) or [""])[0]
        joint = [", ".join(_joint(each))] if word else []
        rows.append([f"[{each.name}](#{kind}-{each.name})", *joint, _plain(first)])
    return f"## {_title(kind)}\n\n{_table([_said(kind), *([word] if word else []), 'computes'], rows)}"


def _models() -> str:
    found = models()
    kinds = [kind for kind in KINDS if any(kind in each for each in found.values())]
    rows = [[f"`{stem}`", *(each.get(kind, "") for kind in kinds)] for stem, each in found.items()]
    head = "## Named models\n\n`lego_nrms` is `--model config/model/lego_nrms.yaml`, and so on.\n\n"
    return head + _table(["model", *map(_said, kinds)], rows)


def _offers() -> str:
    given = _table(["argument", "is"], [[f"`{name}`", text] for name, text in OFFERED.items()])
    asked = [
        [f"`{name}`", _said(kind), text] for kind, every in EXTRAS.items() for name, text in every.items()
    ]
    return (
        "## What the program gives\n\nA constructor that names one of these is given it; YAML may not set it."
        f"\n\n{given}\nA `forward` may name these behind its tensors.\n\n"
        f"{_table(['asked for', 'by a', 'is'], asked)}"
    )


def _where(brick: Brick) -> str:
    path = f"`{brick.module}.{brick.class_name}`"
    if not brick.file.is_relative_to(ROOT):
        return path
    return f"[{path}](../{brick.file.relative_to(ROOT).as_posix()})"


def _argument(each: Parameter, said: Mapping[str, str], kind: str, block: str = "") -> list[str]:
    """Lines of one argument; a nested block has one for each of its own too."""
    text, name = _after(each.name, said), f"{block}{each.name}"
    if each.type is not None and each.type.form == "block":
        inner = arguments(find(kind, f"{each.type.block_module}.{each.type.block_name}").docstring)
        below = [line for part in each.type.block for line in _argument(part, inner, kind, f"{name}.")]
        return [_filled(f"`{name}` (a block){text}", "- "), *below]
    default = "" if each.required else f" = {_value(each.default)}"
    shown = f"{name}: {_type(each.type) if each.type else each.annotation}{default}"
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
    return (gives(brick),) if JOINTS[brick.kind][0] == "gives" else accepts(brick)


def _fits(brick: Brick) -> list[str]:
    if brick.kind not in JOINTS:
        return []
    word, kinds = JOINTS[brick.kind]
    lines = [f"{word.capitalize()} {' or '.join(_joint(brick))}."]
    for kind in kinds:
        fitting = [name for name in names(kind) if not misfits({brick.kind: brick.name, kind: name})]
        lines[0] += f" {_title(kind)} that fit: {_listed(fitting)}."
    return lines


def _listed(found: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in found) or "none"


def _said(kind: str) -> str:
    return kind.replace("_", " ")


def _title(kind: str) -> str:
    return f"{_said(kind).capitalize()}s"


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


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Columns in line, so that it reads in a terminal too; the last one is as long as it is."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *escaped, strict=True)][:-1]
    lines = [head, ["-" * max(3, width) for width in [*widths, 3]], *escaped]
    shown = [
        " | ".join([*(cell.ljust(max(3, width)) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in lines
    ]
    return "".join(f"| {line} |\n" for line in shown)
