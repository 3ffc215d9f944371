"""The command line and the YAML layers as one tree, with the origin of every place."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from legorec.compose.command_line import (
    COMMAND_LINE,
    LAYERS,
    OLD_FLAGS,
    REQUIRED,
    SETTINGS,
    WORKER_FLAGS,
    CommandLine,
    override,
    parse_command_line,
)
from legorec.compose.documents import (
    Document,
    join,
    missing_file,
    missing_layer,
    put,
    read_document,
)
from legorec.compose.problems import UNRESOLVED, Problem
from legorec.compose.references import Read, References
from legorec.compose.saved import Saved, read_saved
from legorec.compose.suggestion import leave_out_suggestion
from legorec.compose.swapped import in_another, swapped
from legorec.registry import KINDS, RegistryError, did_you_mean, find

DEFAULT = "default"
Spared = Callable[[Any], Collection[str]]


@dataclass
class Composition:
    """Layers without references, the worker's flags, and the origin of everything."""

    layers: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    did_nothing: tuple[str, ...] = ()
    unused: frozenset[str] = frozenset()  # flags that nothing reads
    reads: list[Read] = field(default_factory=list)
    failed: frozenset[str] = frozenset()  # layers of which a part could not be read
    left_out: Any = None  # what the model suggests, where that is not read
    saved: Saved | None = None  # the file, if they are the settings of a run
    earlier: Mapping[str, str] = field(default_factory=dict)  # see ``Settings.earlier``

    def is_made_earlier(self, path: str) -> bool:
        """Whether an earlier stage will write what a path names, so that it may not be there yet."""
        return any(path == made or path.startswith(f"{made}/") for made in self.earlier)

    def is_saved(self, place: str) -> bool:
        """Whether a value comes from the settings that a run saved, and not from who reads them."""
        origin, flag = self.where(place), f"{COMMAND_LINE} --"
        given = origin.removeprefix(flag)
        # A reference in the file may take a part of its value from a flag, and is the file's all the same.
        by_hand = origin.startswith(flag) and (place == given or place.startswith(f"{given}."))
        return self.saved is not None and not by_hand

    def where(self, place: str) -> str:
        """The origin of a place, or of the nearest block around it."""
        while place:
            if place in self.origins:
                return self.origins[place]
            place = place.rpartition(".")[0]
        return COMMAND_LINE

    def is_unresolved(self, place: str) -> bool:
        """Whether a problem with this place, or with a block around it, has already been reported."""
        value: Any = self.layers
        for part in place.split("."):
            if isinstance(value, str) and value == UNRESOLVED:
                return True
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return False
        return isinstance(value, str) and value == UNRESOLVED


def compose(argv: list[str], spared: Spared = lambda mode: ()) -> Composition:
    """Read, merge, override and resolve; everything that is wrong is collected in ``problems``.

    Args:
        spared: the layers that ``exp.mode``, as it is written, does without.
    """
    problems: list[Problem] = []
    line = parse_command_line(argv, problems)
    return composed(line, *read_layers(line, problems, spared), problems)


def composed(
    line: CommandLine,
    document: Document,
    failed: frozenset[str],
    problems: list[Problem],
    stages: Mapping[str, str] | None = None,
    replaced: Collection[str] = (),
) -> Composition:
    """Override and resolve layers that were read.

    Args:
        failed: the names of those of which a part could not be read.
        stages: of one of several stages, what those before it make, by name. What no file reads of the flags
            of all stages is then noted in ``unused`` alone.
        replaced: flags that may have been read where an override now stands.
    """
    composition = Composition(problems=problems, failed=failed)
    if line.settings is not None:
        composition.saved = read_saved(line.settings, document.tree, problems)
        _judge_saved(line.settings, document, problems)
    override(document, line, problems, failed)
    if line.settings is None:
        composition.left_out = leave_out_suggestion(document, {*line.free, *line.dotted})
    composition.origins = document.origins
    composition.flags = {name: default for name, (default, _) in WORKER_FLAGS.items()}
    composition.origins |= {name: DEFAULT for name in WORKER_FLAGS if name not in document.origins}
    for name in WORKER_FLAGS:
        if name in document.tree:
            composition.flags[name] = document.tree.pop(name)
    composition.flags |= line.flags
    composition.origins |= {name: line.origin(name) for name in (*line.flags, *line.free)}

    keys = {**composition.flags, **line.free}
    before = {"stages": dict(stages)} if stages else {}
    references = References({**keys, **before, **document.tree}, composition.where, problems, failed)
    resolved = references.resolve()
    composition.layers = {name: resolved[name] for name in document.tree}
    composition.flags = {name: resolved[name] for name in composition.flags}
    composition.reads = references.reads
    _note_origins(composition, references, line)
    if failed:  # a key may belong to the file that could not be read
        return composition
    unused = [key for key in line.free if key not in references.used]
    composition.unused = frozenset(unused)
    own = unused if stages is None else [key for key in unused if key in {*line.written} - {*replaced}]
    judge_unused(composition, line, own)
    return composition


def read_layers(
    line: CommandLine, problems: list[Problem], spared: Spared
) -> tuple[Document, frozenset[str]]:
    """The layers side by side, and the names of those of which a part could not be read."""
    if line.settings is not None:
        return _read_saved(line.settings, problems, spared)
    document = Document()
    failed = set()
    required = [name for name in REQUIRED if name not in spared(_mode_of(line))]
    for name in LAYERS:
        path = line.layers.get(name)
        if path is None and name not in required:
            continue
        if path is None or not os.path.isfile(path):
            message = f"is required: the {LAYERS[name]}, as in `--{name} config/{name}/...`"
            if path is not None:
                elsewhere = in_another(name, path)
                message = f"no file {path}{elsewhere}" if elsewhere else missing_layer(name, path)
            problems.append(Problem(COMMAND_LINE, f"--{name}", message))
            failed.add(name)
            continue
        found: list[Problem] = []
        layer = read_document(path, found)
        if not layer.failed and (wrong := swapped(name, path, layer.tree)):
            problems.append(Problem(COMMAND_LINE, f"--{name}", wrong))
            failed.add(name)
            continue
        problems += [replace(each, place=join(name, each.place) if each.place else "") for each in found]
        if layer.failed:
            failed.add(name)
        if layer.tree or not layer.failed:
            origins = {join(name, place): origin for place, origin in layer.origins.items()}
            put(document, document.tree, "", name, layer.tree, {name: f"{path}:1", **origins})
    return document, frozenset(failed)


def _mode_of(line: CommandLine) -> Any:
    """``exp.mode`` as it is written; None where it is not."""
    path = line.layers.get("exp")
    if "exp.mode" in line.dotted or path is None or not os.path.isfile(path):
        return line.dotted.get("exp.mode")
    tree = read_document(path, []).tree
    return tree.get("mode") if isinstance(tree, dict) else None


def _read_saved(path: str, problems: list[Problem], spared: Spared) -> tuple[Document, frozenset[str]]:
    if not os.path.isfile(path):
        problems.append(Problem(COMMAND_LINE, f"--{SETTINGS}", missing_file(path)))
        return Document(), frozenset(LAYERS)
    document = read_document(path, problems)
    if document.failed:
        return Document(), frozenset(LAYERS)
    exp = document.tree.get("exp")
    mode = exp.get("mode") if isinstance(exp, dict) else None
    missing = [name for name in REQUIRED if name not in document.tree and name not in spared(mode)]
    problems.extend(Problem(path, name, "is required in saved settings") for name in missing)
    return document, frozenset(missing)


def _judge_saved(path: str, document: Document, problems: list[Problem]) -> None:
    known = (*LAYERS, "seed")
    for key in [each for each in document.tree if each not in known]:
        message = f"saved settings hold {', '.join(known)}{did_you_mean(key, known)}"
        problems.append(Problem(document.origins.get(key, path), key, message))
        del document.tree[key]


def _note_origins(composition: Composition, references: References, line: CommandLine) -> None:
    """Note for each place which flag, or which flag's default, its value comes from."""
    origins = composition.origins
    for place, key in references.defaulted.items():
        if "." not in key:
            source = references.suggested.get(place, "")
            said = f"{source}, default of --{key}" if source else f"default of --{key}"
            origins[place] = f"{composition.where(source or place)} ({said})"
    for key, places in references.used.items():
        for place in places if key in line.free or key in line.flags else ():
            origins[place] = f"{line.origin(key)} ({composition.where(place)})"
    for written, resolved in references.renamed.items():
        for old in [each for each in origins if each == written or each.startswith(written + ".")]:
            origins[resolved + old.removeprefix(written)] = origins.pop(old)
    for key in line.free:
        origins.pop(key, None)


def judge_unused(composition: Composition, line: CommandLine, unused: Iterable[str]) -> None:
    """Note flags that nothing reads: as a problem, or as taken where ``exp.accepts`` names them."""
    unused = list(unused)
    exp = composition.layers.get("exp")
    accepts = exp.get("accepts") if isinstance(exp, dict) else None
    accepted = accepts if isinstance(accepts, list) else []
    composition.did_nothing = tuple(key for key in unused if key in accepted)
    read_here = sorted({read.key for read in composition.reads} - set(WORKER_FLAGS))
    known = [*LAYERS, *WORKER_FLAGS, SETTINGS, "help", *read_here]
    for key in unused:
        if key in accepted:
            continue
        rule = (
            f"nothing reads it; these files read {', '.join(f'--{each}' for each in read_here) or 'no key'}"
        )
        near = did_you_mean(key, known).replace("'", "'--", 1)
        near = _brick_with(key, composition) or near
        near = f"; of Legommenders' flags, this one is now {OLD_FLAGS[key]}" if key in OLD_FLAGS else near
        composition.problems.append(line.problem(key, rule + near))


def _brick_with(key: str, composition: Composition) -> str:
    """How to set an argument that some of the named bricks have but no file mentions."""
    model = composition.layers.get("model")
    blocks = model if isinstance(model, dict) else {}
    places = []
    for kind in KINDS:
        block = blocks.get(kind)
        name = block.get("name") if isinstance(block, dict) else None
        try:
            brick = find(kind, name) if isinstance(name, str) else None
        except RegistryError:
            continue  # reported where the name is read
        if brick is not None and key in [each.name for each in brick.own]:
            places.append(f"--model.{kind}.{key}")
    return f"; bricks of this model that have it: {', '.join(places)}" if places else ""
