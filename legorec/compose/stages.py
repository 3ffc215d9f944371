"""The documents of ``exp.stages``: each stage is the layers of the command line with pieces of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from legorec.compose.command_line import COMMAND_LINE, LAYERS, REQUIRED, CommandLine, parse_command_line
from legorec.compose.composition import Spared, read_layers
from legorec.compose.documents import Document, join, merge, missing_file, named_in, put, read_document
from legorec.compose.problems import UNRESOLVED, Problem
from legorec.compose.references import Reference, split
from legorec.registry import did_you_mean

STAGES = "stages"
PLACE = f"exp.{STAGES}"


@dataclass
class Beginning:
    """The command line and its layers, before they are put together.

    Args:
        listed: ``exp.stages`` as it is written, taken out of the layers; None where there are none.
        origins: of its places.
    """

    line: CommandLine
    document: Document
    failed: frozenset[str]
    listed: Any = None
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def begin(argv: list[str], spared: Spared) -> Beginning:
    """Read the command line and its layers, with all layers that a run without stages must have."""
    problems: list[Problem] = []
    line = parse_command_line(argv, problems)
    path = line.layers.get("exp", "")
    staged = os.path.isfile(path) and STAGES in read_document(path, []).tree
    document, failed = read_layers(line, problems, (lambda mode: REQUIRED) if staged else spared)
    if not staged:
        return Beginning(line, document, failed, problems=problems)
    origins = {place: origin for place, origin in document.origins.items() if is_in(place, PLACE)}
    listed = document.tree["exp"].pop(STAGES)
    document.origins = {place: each for place, each in document.origins.items() if place not in origins}
    return Beginning(line, document, failed, listed, origins, problems)


def is_in(place: str, block: str) -> bool:
    """Whether a dotted place is a block or lies in it."""
    return place == block or place.startswith(f"{block}.")


def stage_line(base: Beginning, name: str, place: str, flags: Mapping[str, Any]) -> CommandLine:
    """The flags of one stage: those in its file, those of all stages, and its own ``--stages.NAME.KEY``."""
    line = base.line.copy()
    for key in [key for key in line.dotted if key.split(".")[0] == STAGES]:
        del line.dotted[key]
    given = {*base.line.flags, *base.line.free, *base.line.dotted}
    for key, value in flags.items():
        if key not in given:
            line.give(key, value, (base.origins.get(f"{place}.flags.{key}", place), f"{place}.flags.{key}"))
    for key, value in base.line.dotted.items():
        head, _, rest = key.partition(".")
        owner, _, own = rest.partition(".")
        if head != STAGES or owner != name or not own:
            continue
        if own in LAYERS:
            line.layers[own] = str(value)
        else:
            line.give(own, value, (COMMAND_LINE, f"--{key}"))
    return line


def judge_stage_flags(base: Beginning, names: Sequence[str]) -> None:
    """Note flags of stages that there are not."""
    for key in base.line.dotted:
        parts = key.split(".")
        if parts[0] != STAGES:
            continue
        message = ""
        if parts[1] not in names:
            message = f"there is no stage {parts[1]!r}; there are {', '.join(names)}"
            message += did_you_mean(parts[1], names)
        elif len(parts) < 3:
            message = f"names no key, as in `--{key}.lr 1e-4`"
        if message:
            base.problems.append(Problem(COMMAND_LINE, f"--{key}", message))
    if STAGES in base.line.free:
        message = f"is a list of the exp layer; a flag of one stage is `--{STAGES}.NAME.KEY value`"
        base.problems.append(Problem(COMMAND_LINE, f"--{STAGES}", message))


def stage_document(
    base: Beginning,
    line: CommandLine,
    place: str,
    pieces: Mapping[str, Sequence[str | Mapping[str, Any]]],
    spared: Spared,
) -> tuple[Document, frozenset[str]]:
    """The layers of one stage, and the names of those of which a part could not be read.

    A file takes the place of the layer that the command line names, a block is merged over what is there. A
    layer that the stage's mode does not read is left out, unless the stage itself names it.

    Args:
        place: of the stage, as in ``exp.stages.0``.
        pieces: files and blocks by layer.
    """
    document, failed = Document(), set()
    for layer in ("exp", *(each for each in LAYERS if each != "exp")):
        own = dict(_pieces(base, place, layer, pieces.get(layer, ())))
        given = line.layers.get(layer)
        if given != base.line.layers.get(layer):
            own = {f"--{STAGES}": (COMMAND_LINE, given)}
        exp = document.tree.get("exp", {})
        mode = line.dotted.get("exp.mode", exp.get("mode"))
        idle = layer != "exp" and layer in spared(mode)
        if idle and not own:
            continue
        whole = _part(base.document, layer) if layer in base.document.tree else None
        bad = layer in base.failed
        for at, (origin, piece) in own.items():
            if isinstance(piece, str):
                found = _file(piece, origin, at, layer, base.problems)
                whole, bad = found, False
            else:
                found = Document(_copied(piece), _moved(base.origins, at))
                whole = merge(whole or Document(), found)
            bad |= found.failed
        if whole is not None:
            origins = {join(layer, each): origin for each, origin in whole.origins.items()}
            put(document, document.tree, "", layer, whole.tree, {layer: base.origins[place], **origins})
        elif layer in REQUIRED and not idle and not bad:
            message = f"a stage without its own needs `--{layer}`: the {LAYERS[layer]}"
            base.problems.append(Problem(base.origins[place], f"{place}.{layer}", message))
            bad = True
        if bad:
            failed.add(layer)
    for key in [key for key in line.dotted if key not in line.written]:
        head = key.split(".")[0]
        if head in LAYERS and head not in document.tree:
            del line.dotted[key]
    return document, frozenset(failed)


def judge_stage_references(
    tree: Any,
    place: str,
    where: Callable[[str], str],
    earlier: Collection[str],
    later: Sequence[str],
    problems: list[Problem],
) -> Any:
    """The tree, in which each ``${stages.X}`` that leads to no earlier stage was noted and cut."""
    rest = (where, earlier, later, problems)
    if isinstance(tree, dict):
        return {key: judge_stage_references(value, join(place, key), *rest) for key, value in tree.items()}
    if isinstance(tree, list):
        return [
            judge_stage_references(value, join(place, str(index)), *rest) for index, value in enumerate(tree)
        ]
    read = [name.partition(".") for name in names_read(tree)]
    wrong = [_wrong_stage(name, earlier, later) for head, _, name in read if head == STAGES]
    for message in filter(None, wrong):
        problems.append(Problem(where(place), place, message))
    return UNRESOLVED if any(wrong) else tree


def _wrong_stage(name: str, earlier: Collection[str], later: Sequence[str]) -> str:
    """What to say of a reference to a stage; nothing where it is right. The first of ``later`` is its own."""
    first, _, rest = name.partition(".")
    if first in earlier:
        return f"${{{STAGES}.{first}}} is a path; write ${{{STAGES}.{first}}}/{rest}" if rest else ""
    there = f"before it: {', '.join(earlier)}" if earlier else "it is the first"
    if first in later:
        what = "is this stage itself" if first == later[0] else "comes after this stage"
        return f"${{{STAGES}.{first}}} {what}, and only an earlier one can be read; {there}"
    return f"there is no stage {first!r} to read; {there}{did_you_mean(first, [*earlier, *later])}"


def names_read(value: Any) -> Iterator[str]:
    """The names that the references of a tree or a text read, those in defaults too."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from names_read(inner)
        return
    if not isinstance(value, str) or "${" not in value:
        return
    try:
        pieces, _ = split(value)
    except ValueError:
        return  # noted when references are resolved
    for piece in pieces:
        if isinstance(piece, Reference):
            yield piece.name
            yield from names_read(piece.default)


def _pieces(
    base: Beginning, place: str, layer: str, pieces: Sequence[str | Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Place, origin and piece, of a layer that may be written as one piece or as a list of some."""
    at = f"{place}.{layer}"
    for index, piece in enumerate(pieces):
        here = f"{at}.{index}" if f"{at}.{index}" in base.origins else at
        yield here, (base.origins.get(here, base.origins[place]), piece)


def _file(path: str, origin: str, place: str, layer: str, problems: list[Problem]) -> Document:
    """A file that is named in another one, from whose folder its path begins."""
    target = named_in("" if origin == COMMAND_LINE else origin.rpartition(":")[0], path)
    if not os.path.isfile(target):
        problems.append(Problem(origin, place, missing_file(target)))
        return Document(failed=True)
    found = read_document(target, problems)
    if STAGES in found.tree and layer == "exp":
        problems.append(Problem(origin, place, f"{target} has stages itself; a stage has none"))
        return Document(failed=True)
    return found


def _part(document: Document, layer: str) -> Document:
    """One layer of a document."""
    return Document(_copied(document.tree[layer]), _moved(document.origins, layer))


def _moved(origins: Mapping[str, str], place: str) -> dict[str, str]:
    """The origins below a place, from there."""
    start = f"{place}."
    return {key.removeprefix(start): origin for key, origin in origins.items() if key.startswith(start)}


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
