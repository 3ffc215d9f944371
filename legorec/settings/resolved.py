"""All settings that decide a run, with the origin of each value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from hashlib import blake2b
from pathlib import Path
from typing import Any

from legorec.compose import MASK, is_secret, to_yaml
from legorec.registry import Brick
from legorec.settings.exp_layer import BASELINES, ExpSettings
from legorec.settings.families import DEFAULT_FAMILY
from legorec.settings.modes import MODES
from legorec.settings.schema import DataSettings, EmbedSettings, ModelSettings

LAYERS = ("data", "embed", "model", "exp")
# Settings that came after the first runs, and what a run does that was saved without them. With these values
# they stay out of the digest, so that a command of before still finds its run. Most are the defaults; where a
# default is another value, a saved run keeps its meaning by ``as_meant``.
LATER: dict[str, Any] = {
    "model.family": DEFAULT_FAMILY,
    "model.item_encoder.rectified": True,
    "model.item_encoder.centred": False,
    "model.parts.*.item_encoder.centred": False,
    "model.parts": {},
    "model.join": None,
    "model.language_model.shard": False,
    "model.language_model.bits": None,
    "model.prompt.chat": False,
    "model.parts.*.least_clicks": 0,
    "exp.policy.schedule": "constant",
    "exp.policy.tf32": False,
    "exp.policy.deterministic": False,
    "exp.policy.keep_epochs": 1,
    "exp.load_epoch": None,
    "exp.init_from": None,
    "exp.evaluation.slices": None,
    "exp.evaluation.token_budget": 32768,
    "exp.evaluation.slices.filled": None,
    "exp.evaluation.slices.item_fields": [],
    "exp.evaluation.candidates": "shown",
    "exp.evaluation.mask_history": True,
    "exp.evaluation.list_category": None,
    "exp.evaluation.list_vectors": "tfidf",
    "exp.sweep": None,
    "exp.prompt": None,
    "exp.cache.memory_gb": None,
    "exp.generate": None,
    "exp.merge": None,
    "model.prompt.segments.*.response": None,
    "model.prompt.segments.*.user": None,
    "model.prompt.segments.*.when": True,
    "data.filters": [],
    "data.dev_rows": None,
    "data.shots": None,
    "data.stratified": False,
    "data.fields.*.column": None,
    "data.fields.*.own_table": False,
    "data.fields.*.scaled": "standard",
    "data.user_fields.*.column": None,
    "data.user_fields.*.own_table": False,
    "data.user_fields.*.scaled": "standard",
    "embed.tables.*.field": None,
    "embed.tables.*.dropout": 0.0,
    "embed.tables.*.made_with": {},
    "embed.tables.*.checkpoint": None,
}
# Lists that have grown: in the digest the default of now is the default of before, for the same reason.
GROWN: dict[str, tuple[list[str], list[str]]] = {
    "exp.baselines": (list(BASELINES), ["random", "popularity"]),
}


@dataclass(frozen=True)
class Settings:
    """The resolved settings of one run. ``origins`` maps each dotted place to where its value came from."""

    data: DataSettings
    embed: EmbedSettings
    model: ModelSettings  # None in a mode that does not read one
    exp: ExpSettings
    seed: int = 2023
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    runs: str = "runs"
    allow: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    did_nothing: tuple[str, ...] = field(
        default=(), compare=False
    )  # flags taken (exp.accepts) that nothing read
    written: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    # of paths that were found elsewhere than where they are written to be: as they are written
    lost: tuple[str, ...] = field(default=(), compare=False, repr=False)  # of those that were found nowhere
    earlier: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    # what earlier stages make, by its path: what stands for the path in the digest

    def dump(self) -> dict[str, Any]:
        """The layers and the seed as a plain tree, secrets masked: what ``--settings`` runs again."""
        reads = (*MODES[self.exp.mode].reads, "exp")
        layers = {name: getattr(self, name).model_dump() for name in LAYERS if name in reads}
        return masked({**layers, "seed": self.seed})

    def to_yaml(self) -> str:
        """``dump`` as YAML text that reads back the same: text that looks like a number is quoted."""
        return to_yaml({**self.dump(), **({"stages": self.earlier} if self.earlier else {})})

    def save(self, path: str | Path) -> None:
        """Write the tree to a YAML file that ``--settings`` takes."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def digest(self) -> str:
        """Twelve hex digits of all that can change the result: not the device, nor where the run is kept."""
        tree = self.dump()
        for place, path in self.written.items():
            set_at(tree, place, path)
        tree = with_stages(tree, self.earlier)
        if own := place_made(tree):
            set_at(tree, own, None)
        del tree["exp"]["accepts"]
        tree.get("model", {}).pop("suggested", None)  # what is taken of it stands in `exp`
        for place, default in LATER.items():
            leave_out(tree, place.split("."), default)
        for place, (default, before) in GROWN.items():
            if value_at(tree, place) == default:
                set_at(tree, place, before)
        text = json.dumps(tree, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return blake2b(text.encode(), digest_size=6).hexdigest()


def with_stages(tree: Any, earlier: Mapping[str, str]) -> Any:
    """The tree with what stands for the paths of earlier stages in the place of these."""
    if isinstance(tree, dict):
        return {key: with_stages(value, earlier) for key, value in tree.items()}
    if isinstance(tree, list):
        return [with_stages(value, earlier) for value in tree]
    for made, said in earlier.items() if isinstance(tree, str) else ():
        if tree == made or tree.startswith(f"{made}/"):
            return said + tree.removeprefix(made)
    return tree


def place_made(tree: dict[str, Any]) -> str | None:
    """The place of the setting that names what a run makes, where that is no run folder and is set."""
    end = MODES[tree["exp"]["mode"]].makes
    places = (place for place, value in leaves(tree) if value is not None)
    return next((place for place in places if end and place.endswith(f".{end}")), None)


def run_path(settings: Settings) -> Path:
    """``runs/<data>/<model>/<embed>-<exp>-seed<seed>-<digest>``: different settings never share a folder."""
    name = f"{settings.embed.name}-{settings.exp.name}-seed{settings.seed}-{settings.digest()}"
    return Path(settings.runs) / settings.data.name / settings.model.name / name


def made_by(settings: Settings) -> str | None:
    """The path of what a run makes: its folder, or what a setting names; None where that is not set."""
    if MODES[settings.exp.mode].makes is None:
        return str(run_path(settings))
    tree = settings.dump()
    place = place_made(tree)
    return None if place is None else str(Path(value_at(tree, place)))


def as_meant(brick: Brick, block: Mapping[str, Any]) -> dict[str, Any]:
    """A brick's settings in a saved run, with arguments that came later as the run was meant without them."""
    found, own = dict(block), {each.name for each in brick.own}
    for place, meant in LATER.items():
        layer, _, rest = place.partition(".")
        kind, _, key = rest.partition(".")
        if (layer, kind) == ("model", brick.kind) and key in own and brick.is_of_the_package:
            found.setdefault(key, meant)
    return found


def leave_out(tree: Any, path: list[str], default: Any) -> None:
    """Remove the value at a path if it is the default; ``*`` is every block of a mapping or a list."""
    key, *rest = path
    if key != "*" and rest and key not in (tree or ()):  # a layer that the mode does not read
        return
    if key == "*":
        for each in list(tree.values()) if isinstance(tree, dict) else tree:
            leave_out(each, rest, default)
    elif rest:  # a model of another family has none of the tower's blocks
        leave_out(tree.get(key) or {}, rest, default)
    elif tree and key in tree and tree[key] == default:
        del tree[key]


def masked(tree: Any, key: str = "") -> Any:
    """The tree with the text of every key like ``*_key`` or ``token`` hidden."""
    if isinstance(tree, dict):
        return {name: masked(value, str(name)) for name, value in tree.items()}
    if isinstance(tree, list):
        return [masked(value, key) for value in tree]
    return MASK if isinstance(tree, str) and is_secret(key) else tree


def describe(settings: Settings) -> str:
    """One line for each setting: its dotted place, its value, where it came from."""
    tree = settings.dump()
    flags = ("device", "resume", "overwrite", "dry_run", "runs", "allow")
    tree |= {name: getattr(settings, name) for name in flags}
    rows = [(place, _shown(value), _origin(settings.origins, place)) for place, value in leaves(tree)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{place:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for place, value, origin in rows)


def value_at(tree: Any, place: str) -> Any:
    """What stands at a dotted place."""
    return reduce(lambda inner, key: inner[key], place.split("."), tree)


def set_at(tree: Any, place: str, value: Any) -> None:
    """Replace what stands at a dotted place."""
    *blocks, name = place.split(".")
    block = reduce(lambda inner, key: inner[int(key) if isinstance(inner, list) else key], blocks, tree)
    block[name] = value


def leaves(tree: Any, place: str = "") -> list[tuple[str, Any]]:
    """Dotted places and values; lists of plain values count as one."""
    if isinstance(tree, dict) and tree:
        return [
            leaf for key, value in tree.items() for leaf in leaves(value, f"{place}.{key}" if place else key)
        ]
    if isinstance(tree, list) and any(isinstance(each, dict | list) for each in tree):
        return [leaf for index, value in enumerate(tree) for leaf in leaves(value, f"{place}.{index}")]
    return [(place, tree)]


def _shown(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool | None) else str(value)
    )


def _origin(origins: dict[str, str], place: str) -> str:
    return origins.get(place, "default")
