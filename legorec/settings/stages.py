"""``exp.stages``: a list of runs that are put together and checked before the first of them begins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from legorec.compose import COMMAND_LINE, LAYERS, Composition, Problem, SettingsError
from legorec.compose.composition import composed, judge_unused
from legorec.compose.problems import UNRESOLVED
from legorec.compose.stages import (
    PLACE,
    Beginning,
    begin,
    judge_stage_flags,
    judge_stage_references,
    names_read,
    stage_document,
    stage_line,
)
from legorec.registry import did_you_mean
from legorec.settings.checks import checked
from legorec.settings.reading import help_lines, layers_spared, settings_in
from legorec.settings.resolved import Settings, leaves, made_by
from legorec.settings.values import Strict, Text, stage_name


def _pieces(value: Any) -> Any:
    """One file or block is a list of one."""
    pieces = value if isinstance(value, list) else [value]
    if not pieces or not all(isinstance(each, dict) or (isinstance(each, str) and each) for each in pieces):
        raise ValueError("must be a file, a block of settings, or a list of these")
    return pieces


def _flags(value: dict[str, Any]) -> dict[str, Any]:
    """Check the keys that stand where the command line would have them."""
    for key in value:
        if key in LAYERS:
            raise ValueError(f"`{key}` is no flag of a stage; it stands beside `flags`")
        if key in ("stage", "dry_run"):
            raise ValueError(f"`{key}` is no flag of a stage; it is given on the command line")
    return value


Pieces = Annotated[list[Any], BeforeValidator(_pieces)]


class StageSettings(Strict):
    """One stage: layers in the place of those of the command line, or merged over them, and flags.

    Args:
        name: what others call it, as in ``${stages.NAME}``, the path of what it makes.
        exp: a file, which replaces the layer, a block, which is merged over it, or a list of both.
        flags: keys as on the command line, which wins over them.
    """

    name: Annotated[Text, AfterValidator(stage_name)]
    data: Pieces = []
    embed: Pieces = []
    model: Pieces = []
    exp: Pieces = []
    flags: Annotated[dict[str, Any], AfterValidator(_flags)] = {}


class _Stages(Strict):
    stages: Annotated[list[StageSettings], Field(min_length=1)]


@dataclass(frozen=True)
class Stage:
    """One stage of a run, or the whole of a run without stages, which has no name.

    Args:
        makes: the path of what it makes.
        awaits: what it reads of earlier stages: the stage's name and the path, by dotted place.
    """

    name: str
    settings: Settings
    makes: str | None = None
    awaits: dict[str, tuple[str, str]] = field(default_factory=dict)

    def missing(self) -> dict[str, tuple[str, str]]:
        """Of what it awaits, what is not there."""
        return {place: each for place, each in self.awaits.items() if not os.path.exists(each[1])}


def read_stages(argv: list[str]) -> list[Stage]:
    """The stages that a command line asks for, in order; one without a name where ``exp`` has no list.

    Raises:
        SettingsError: with everything that is wrong in any of them.
    """
    base = begin(argv, layers_spared)
    if base.listed is None:
        settings = settings_in(composed(base.line, base.document, base.failed, base.problems))
        if settings is None or base.problems:
            raise SettingsError(base.problems)
        if (wanted := base.line.flags.get("stage")) is not None:
            message = f"is read where exp has `stages`, and this one has none; got {wanted!r}"
            raise SettingsError([Problem(COMMAND_LINE, "--stage", message)])
        return [Stage("", settings)]
    listed = _listed(base)
    stages, compositions = _staged(base, listed)
    _judge_shared(base, compositions)
    chosen = _chosen(base, [each.name for each in listed])
    if base.problems:
        raise SettingsError(base.problems)
    return [each for each in stages if chosen in (None, each.name)]


def help_text(argv: list[str]) -> str:
    """How the worker is called, and the keys that the named files read, those of all stages."""
    base = begin([each for each in argv if each not in ("--help", "-h")], layers_spared)
    if base.listed is None:
        return help_lines(composed(base.line, base.document, base.failed, base.problems).reads)
    try:
        compositions = _staged(base, _listed(base))[1]
    except SettingsError:  # told where it is run
        compositions = []
    return help_lines(read for composition in compositions for read in composition.reads)


def _listed(base: Beginning) -> list[StageSettings]:
    """The list, typed.

    Raises:
        SettingsError: with what is wrong in it, as nothing can be composed of it then.
    """
    composition = Composition({"exp": {"stages": base.listed}}, origins=base.origins, problems=base.problems)
    found = checked(_Stages, {"stages": base.listed}, "exp", composition)
    if found is None:
        raise SettingsError(base.problems)
    names = [each.name for each in found.stages]
    for index, name in enumerate(names):
        if name in names[:index]:
            place = f"{PLACE}.{index}.name"
            base.problems.append(Problem(composition.where(place), place, f"{name!r} is named twice"))
            raise SettingsError(base.problems)
    judge_stage_flags(base, names)
    return found.stages


def _staged(base: Beginning, listed: Sequence[StageSettings]) -> tuple[list[Stage], list[Composition]]:
    """Each stage on its own, with what those before it will make."""
    stages, compositions = [], []
    made: dict[str, str] = {}  # path by name
    earlier: dict[str, str] = {}  # what stands for it in the digest, by path
    names = [each.name for each in listed]
    for index, each in enumerate(listed):
        composition = _composition(base, each, index, names, made)
        composition.earlier = dict(earlier)
        compositions.append(composition)
        settings = settings_in(composition)
        makes = None if settings is None else made_by(settings)
        made[each.name] = makes or UNRESOLVED
        if settings is None:
            continue
        owners = {path: name for name, path in made.items() if path in earlier}
        awaits = {
            place: (owners[path], value)
            for place, value in leaves(composition.layers)
            for path in owners
            if isinstance(value, str) and (value == path or value.startswith(f"{path}/"))
        }
        read = {path: earlier[path] for path in dict.fromkeys(earlier) if _is_read(path, awaits)}
        settings = replace(settings, earlier=read)
        stages.append(Stage(each.name, settings, makes, awaits))
        if makes is not None:
            earlier[makes] = f"stage {settings.digest()}"
    return stages, compositions


def _is_read(path: str, awaits: Mapping[str, tuple[str, str]]) -> bool:
    return any(value == path or value.startswith(f"{path}/") for _, value in awaits.values())


def _composition(
    base: Beginning, stage: StageSettings, index: int, names: Sequence[str], made: Mapping[str, str]
) -> Composition:
    place = f"{PLACE}.{index}"
    line = stage_line(base, stage.name, place, stage.flags)
    pieces = {layer: getattr(stage, layer) for layer in LAYERS}
    document, failed = stage_document(base, line, place, pieces, layers_spared)
    cut = (list(made), names[index:], base.problems)
    where = Composition(origins=document.origins).where
    document.tree = judge_stage_references(document.tree, "", where, *cut)
    for kind in (line.free, line.dotted, line.flags):
        kind |= {key: judge_stage_references(kind[key], key, line.origin, *cut) for key in kind}
    replaced = set(stage.flags) & set(names_read(document.tree))
    return composed(line, document, failed, base.problems, made, replaced)


def _judge_shared(base: Beginning, compositions: Sequence[Composition]) -> None:
    """Note flags for all stages that none of them reads."""
    if any(each.failed for each in compositions):
        return
    whole = replace(
        compositions[-1], reads=[read for composition in compositions for read in composition.reads]
    )
    idle = [key for key in base.line.free if all(key in each.unused for each in compositions)]
    judge_unused(whole, base.line, idle)
    for key in base.line.dotted:
        head = key.split(".")[0]
        if head in LAYERS and not any(head in each.layers for each in compositions):
            base.problems.append(base.line.problem(key, f"no stage reads the layer {head!r}"))


def _chosen(base: Beginning, names: Sequence[str]) -> Any:
    """The one stage that is to be run; None: all."""
    wanted = base.line.flags.get("stage")
    if wanted is not None and wanted not in names:
        message = f"there is no stage {wanted!r}; there are {', '.join(names)}"
        message += did_you_mean(str(wanted), names)
        base.problems.append(Problem(COMMAND_LINE, "--stage", message))
    return wanted
