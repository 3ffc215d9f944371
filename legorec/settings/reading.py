"""Command line -> ``Settings``, or every problem at once; and the text of ``--help``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from legorec.compose import (
    LAYERS,
    MASK,
    WORKER_FLAGS,
    Composition,
    Problem,
    Read,
    SettingsError,
    compose,
    is_secret,
)
from legorec.compose.documents import missing_file
from legorec.registry import KINDS, did_you_mean
from legorec.settings.brick_places import block_at, brick_places
from legorec.settings.checks import checked, checked_brick
from legorec.settings.combinations import (
    judge_export,
    judge_fit,
    judge_item_side,
    judge_offers,
    judge_paging,
    judge_readings,
)
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.families import DEFAULT_FAMILY, FAMILIES, Family
from legorec.settings.init_from import judge_init_from
from legorec.settings.measured import judge_list_metrics, without_refused_metrics
from legorec.settings.modes import MODES
from legorec.settings.paths import find_paths
from legorec.settings.resolved import Settings, leaves
from legorec.settings.schema import (
    BrickSettings,
    DataSettings,
    EmbedSettings,
    ModelSettings,
    SuggestedSettings,
    WorkerSettings,
)

PAIRS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
PACKED = ("", ".gz", ".bz2", ".xz")
IDS = (".txt", ".json", ".npy", ".parquet")


def read_command_line(argv: list[str], whole_paths: bool = False) -> Settings:
    """The settings that a command line asks for.

    Args:
        whole_paths: of what a run's settings name; for a process that may change its current folder.

    Raises:
        SettingsError: with everything that is wrong, each with its place, file and line.
    """
    composition = compose(argv, layers_spared)
    exp = composition.layers.get("exp")
    if isinstance(exp, dict) and exp.pop("stages", None) is not None:
        message = "is a list of runs, and one run is wanted here; worker.py does them in order"
        composition.problems.append(Problem(composition.where("exp.stages"), "exp.stages", message))
    settings = settings_in(composition, whole_paths)
    if settings is None or composition.problems:
        raise SettingsError(composition.problems)
    return settings


def settings_in(composition: Composition, whole_paths: bool = False) -> Settings | None:
    """The settings in a composition; None where they are not whole, after what is wrong was noted."""
    written, lost = find_paths(composition, whole_paths)
    settings = _checked_settings(composition)
    if settings is None:
        return None
    earlier = dict(composition.saved.earlier if composition.saved is not None else composition.earlier)
    return replace(settings, written=written, lost=lost, earlier=earlier)


def _checked_settings(composition: Composition) -> Settings | None:
    layers = composition.layers
    _refuse_masked(composition)
    worker = checked(WorkerSettings, composition.flags, "", composition)
    if worker and worker.allow and composition.saved is None:
        message = "is read with --settings only: who names a brick in a layer or a flag has allowed it"
        composition.problems.append(Problem(composition.where("allow"), "allow", message))
    data = checked(DataSettings, layers["data"], "data", composition) if "data" in layers else None
    embed = checked(EmbedSettings, layers.get("embed", {}), "embed", composition)
    model = checked_model(layers["model"], composition) if "model" in layers else None
    if composition.left_out is not None and "${" not in str(composition.left_out):
        checked(SuggestedSettings, composition.left_out, "model.suggested", composition)
    exp = None
    if "exp" in layers:
        exp = checked(ExpSettings, without_refused_metrics(layers["exp"], composition), "exp", composition)
    if data:
        _judge_plain(data.made_with, "data.made_with", composition)
        _judge_filters(data, composition)
    if embed:
        for place, each in enumerate(embed.tables):
            _judge_plain(each.made_with, f"embed.tables.{place}.made_with", composition)
        _judge_tables(embed, composition)
        _judge_repeats([each.owner for each in embed.tables], "embed.tables", composition)
    if exp:
        _judge_layers(exp, composition)
        _judge_load(exp, FAMILIES[model.family] if model else None, composition)
        judge_init_from(exp, composition)
        _judge_mode(exp, composition)
        _judge_predict(exp, composition)
        judge_list_metrics(exp, composition)
        _judge_repeats(exp.metrics, "exp.metrics", composition)
        _judge_repeats(exp.baselines, "exp.baselines", composition)
    if data and embed and model and FAMILIES[model.family].bricks:
        judge_offers(data, embed, model, composition)
        judge_readings(data, model, composition)
    if model and exp and "model" in MODES[exp.mode].reads:
        _judge_family(model, exp, composition)
    if exp and model and FAMILIES[model.family].bricks:
        judge_paging(model, exp, composition)
        judge_export(model, exp, composition)
    if worker is None or data is None or embed is None or exp is None:
        return None
    if model is None and "model" in MODES[exp.mode].reads:
        return None
    whole: Any = model  # see ``Settings``
    return Settings(
        data,
        embed,
        whole,
        exp,
        **worker.model_dump(exclude={"stage"}),
        origins=composition.origins,
        did_nothing=composition.did_nothing,
    )


def checked_model(tree: Any, composition: Composition) -> Any:
    """The model layer by the schema of its family, or None after its problems were noted."""
    if not isinstance(tree, dict):
        return checked(FAMILIES[DEFAULT_FAMILY].settings, tree, "model", composition)
    family = _family_of(tree, composition)
    if family is None:
        return None
    for key in [key for key in tree if key not in family.settings.model_fields]:
        owners = [each for each in FAMILIES.values() if key in each.settings.model_fields]
        if owners:
            tree = {name: value for name, value in tree.items() if name != key}
            message = (
                f"is a setting of the family {owners[0].name!r} ({owners[0].about}), and this model is of "
                f"the family {family.name!r} ({family.about}); change `model.family`, or take it out"
            )
            where = f"model.{key}"
            composition.problems.append(Problem(composition.where(where), where, message))
    if not family.bricks:
        return checked(family.settings, tree, "model", composition)
    judge_item_side(tree, composition)
    bricks: dict[str, dict[str, BrickSettings]] = {}  # by kind, of the model and of each part of the items
    tree = deepcopy(tree)
    for place, kind in list(brick_places(tree)):
        block, key = (block_at(tree, place.rpartition(".")[0]) if "." in place else tree), kind
        if not isinstance(block, dict) or key not in block or (KINDS[kind].optional and block[key] is None):
            continue
        block[key] = checked_brick(kind, block[key], f"model.{place}", composition)
        bricks.setdefault(place.rpartition(".")[0], {})[kind] = block[key]
    for owner, chosen in bricks.items():
        judge_fit(chosen, composition, owner)
    return checked(family.settings, tree, "model", composition)


def _family_of(tree: dict[str, Any], composition: Composition) -> Family | None:
    name, place = tree.get("family", DEFAULT_FAMILY), "model.family"
    if isinstance(name, str) and name in FAMILIES:
        return FAMILIES[name]
    if not composition.is_unresolved(place):
        known = " or ".join(map(repr, FAMILIES))
        message = f"must be {known}, got {name!r}{did_you_mean(str(name), FAMILIES)}"
        composition.problems.append(Problem(composition.where(place), place, message))
    return None


def _refuse_masked(composition: Composition) -> None:
    for place, value in leaves(composition.layers):
        if value == MASK:
            message = f"was masked when the settings were saved; give it again, as in `--{place} ...`"
            composition.problems.append(Problem(composition.where(place), place, message))


def _judge_plain(tree: dict[str, Any], place: str, composition: Composition) -> None:
    for inner, value in leaves(tree, place):
        if isinstance(value, float) and value - value != 0:
            composition.problems.append(
                Problem(composition.where(inner), inner, f"must be finite, got {value!r}")
            )


def _judge_family(model: ModelSettings, exp: ExpSettings, composition: Composition) -> None:
    """A mode that cannot work on models of this family."""
    mode, place = MODES[exp.mode], "exp.mode"
    if model.family not in mode.families and not composition.is_unresolved(place):
        fitting = [name for name, each in MODES.items() if model.family in each.families]
        message = (
            f"must not be {exp.mode!r} with a model of the family {model.family!r}; modes that can: "
            f"{', '.join(fitting) or 'none'}"
        )
        composition.problems.append(Problem(composition.where(place), place, message))


def layers_spared(mode: Any) -> list[str]:
    """The layers that a mode does without; none of a mode that there is not."""
    row = MODES.get(mode) if isinstance(mode, str) else None
    return [] if row is None else [name for name in LAYERS if name not in (*row.reads, "exp")]


def _judge_layers(exp: ExpSettings, composition: Composition) -> None:
    """Layers that the mode does not read."""
    for name in layers_spared(exp.mode):
        if name in composition.layers:
            message = f"is not read where exp.mode is {exp.mode!r}; leave it out"
            composition.problems.append(Problem(composition.where(name), f"--{name}", message))


def _judge_load(exp: ExpSettings, family: Family | None, composition: Composition) -> None:
    place, message = "exp.load", ""
    mode = MODES[exp.mode]
    loads = mode.loads
    if loads == "must" and mode.measures and family is not None and family.zero_shot:
        loads = "may"
    if loads == "no":
        if exp.load is not None:
            modes = _listed([name for name, mode in MODES.items() if mode.loads != "no"])
            message = f"is read in the modes {modes} only, got {exp.load!r} where exp.mode is {exp.mode!r}"
    elif exp.load is None:
        if loads == "must":
            message = f"is needed where exp.mode is {exp.mode!r}: the folder of a trained run"
    elif not os.path.isdir(exp.load) and not composition.is_made_earlier(exp.load):
        message = f"no folder {exp.load}; it is the folder of a trained run"
    if not message and exp.load is None and exp.load_epoch is not None:
        place, message = "exp.load_epoch", f"is read with exp.load only, got {exp.load_epoch}"
    if message and not composition.is_unresolved(place):
        composition.problems.append(Problem(composition.where(place), place, message))


def _judge_mode(exp: ExpSettings, composition: Composition) -> None:
    """Blocks that belong to some modes."""
    mode, problems = MODES[exp.mode], []
    if mode.needs is not None and getattr(exp, str(mode.block)) is None:
        problems.append((mode.block, f"is needed where exp.mode is {exp.mode!r}, as in {mode.needs}"))
    for owned in {each.block: None for each in MODES.values() if each.block is not None}:
        owners = [name for name, each in MODES.items() if each.block == owned]
        if exp.mode not in owners and getattr(exp, owned) is not None:
            message = f"is read in mode {' and '.join(owners)} only, exp.mode is {exp.mode!r}"
            problems.append((owned, message))
    if exp.evaluation.slices is not None and mode.loads != "no" and not mode.measures:
        modes = _listed([name for name, each in MODES.items() if each.measures])
        message = f"is read in the modes {modes} only, which measure; exp.mode is {exp.mode!r}"
        problems.append(("evaluation.slices", message))
    for block, message in problems:
        place = f"exp.{block}"
        if not composition.is_unresolved(place):
            composition.problems.append(Problem(composition.where(place), place, message))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def _judge_predict(exp: ExpSettings, composition: Composition) -> None:
    """What is to be scored can be one thing only, and only some of it in MIND's format."""
    asked, problems = exp.predict, []
    if asked is None:
        return
    if asked.pairs is not None:
        for key in ("split", "top_k"):
            if (value := getattr(asked, key)) is not None:
                message = f"must be null where exp.predict.pairs names what is scored, got {value!r}"
                problems.append((key, message))
        if not asked.pairs.endswith(tuple(kind + packed for kind in PAIRS for packed in PACKED)):
            message = f"must be a file that ends in {', '.join(PAIRS)}, got {asked.pairs!r}"
            problems.append(("pairs", message))
        elif not os.path.isfile(asked.pairs) and not composition.is_made_earlier(asked.pairs):
            problems.append(("pairs", missing_file(asked.pairs, PAIRS)))
    elif asked.max_missing:
        problems.append(("max_missing", f"is read with exp.predict.pairs only, got {asked.max_missing}"))
    for key in ("pairs", "top_k") if asked.format == "mind" else ():
        if (value := getattr(asked, key)) is not None:
            message = "must be null where exp.predict.format is 'mind', which ranks the candidates of a split"
            problems.append((key, f"{message}; got {value!r}"))
    for key, message in problems:
        place = f"exp.predict.{key}"
        if not composition.is_unresolved(place):
            composition.problems.append(Problem(composition.where(place), place, message))


def _judge_filters(data: DataSettings, composition: Composition) -> None:
    """Files of users that are not there."""
    for index, each in enumerate(data.filters):
        place = f"data.filters.{index}.users"
        if each.users is None or composition.is_made_earlier(str(each.users)):
            continue
        if not os.path.isfile(each.users) and not composition.is_unresolved(place):
            message = f"{missing_file(each.users, IDS)}; it is a file of the users' raw ids, one a line"
            composition.problems.append(Problem(composition.where(place), place, message))


def _judge_tables(embed: EmbedSettings, composition: Composition) -> None:
    named = [(f"embed.tables.{place}.path", table.path) for place, table in enumerate(embed.tables)]
    named += [("embed.codes.path", embed.codes.path)] if embed.codes is not None else []
    for place, path in named:
        suffixes = (".safetensors",) if place == "embed.codes.path" else (".npy", ".safetensors")
        message = ""
        if not path.endswith(suffixes):
            message = f"must be a file that ends in {' or '.join(suffixes)}, got {path!r}"
        elif not os.path.isfile(path) and not composition.is_made_earlier(path):
            message = f"{missing_file(path, suffixes)}; write it with process/embed.py"
        if message and not composition.is_unresolved(place):
            composition.problems.append(Problem(composition.where(place), place, message))


def _judge_repeats(values: list[Any], place: str, composition: Composition) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            where = f"{place}.{index}"
            composition.problems.append(Problem(composition.where(where), where, f"{value!r} is named twice"))


def help_lines(composed: Iterable[Read]) -> str:
    """How the worker is called.

    Args:
        composed: the keys that the named files read.
    """
    lines = [
        "usage: python worker.py --data FILE --model FILE --exp FILE [--embed FILE] [--key value ...]",
        "       python worker.py --settings RUN_FOLDER/settings.yaml [--key value ...]",
        "",
        "layers",
        *(f"  --{name:<18} {text}" for name, text in LAYERS.items()),
        f"  --{'settings':<18} settings saved by a run, in place of the layers",
        "",
        "worker",
        *(f"  --{name:<18} {text} ({_default(value)})" for name, (value, text) in WORKER_FLAGS.items()),
        f"  --{'help':<18} this text; with layers named, also the keys that they read",
        "",
        "modes, as exp.mode names them",
        *(f"  {name:<20} {mode.about}" for name, mode in MODES.items()),
        "",
        "single values",
        f"  --{'exp.policy.lr 1e-4':<18} any setting by its dotted place",
        f"  --{'stages.NAME.lr 1e-4':<18} any key for one of exp.stages",
    ]
    reads: dict[str, Read] = {}
    for read in composed:
        if read.key not in WORKER_FLAGS and read.key not in LAYERS:
            reads.setdefault(read.key, read)
    if reads:
        lines += ["", "keys that these files read"]
    for read in reads.values():
        default = "required" if read.default is None else MASK if is_secret(read.key) else read.default
        lines.append(f"  --{read.key:<18} {read.place} ({default})")
    return "\n".join(lines)


def _default(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
