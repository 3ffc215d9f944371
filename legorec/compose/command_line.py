"""``--key value`` pairs: layers, the worker's own flags, dotted overrides, and keys for references."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from legorec.compose.documents import Document, join, parse_text, put
from legorec.compose.problems import MASK, Problem, is_secret
from legorec.compose.scalars import cast
from legorec.registry import did_you_mean
from legorec.shipped import is_store, layer_file

LAYERS = {
    "data": "YAML file of the data layer: the store, its fields, history, splits",
    "embed": "YAML file of the embed layer: given token tables (left out: none)",
    "model": "YAML file of the model layer: the bricks and the objective",
    "exp": "YAML file of the exp layer: mode, policy, evaluation, metrics",
}
REQUIRED = ("data", "model", "exp")
SETTINGS = "settings"

# The worker's own flags: default and purpose.
WORKER_FLAGS: dict[str, tuple[Any, str]] = {
    "seed": (2023, "seed of parameters, batches, dropout and negatives"),
    "device": ("auto", "auto, cpu, cuda, cuda:N, xpu, xpu:N or mps"),
    "resume": (False, "go on from the run folder's last checkpoint"),
    "overwrite": (False, "replace a finished run folder"),
    "dry_run": (False, "print every resolved setting with where it came from, and stop"),
    "stage": (None, "of exp.stages, the one that is run; left out: all of them, in order"),
    "runs": ("runs", "folder that run folders are made in"),
    "allow": ([], "packages outside legorec that saved settings may take bricks from, as in my_lab"),
}
COMMAND_LINE = "command line"
# Flags of Legommenders' first version, and what does the same here.
OLD_FLAGS = {
    "cuda": "--device: cpu in place of -1, cuda:N in place of N, auto by default",
    "load_path": "--load RUN_FOLDER, with an exp file that reads it, such as config/exp/test.yaml",
    "max_item_batch_size": "--item_page_size, the items that are encoded at a time in training",
    "max_item_content_batch_size": "--item_page_size, the items that are encoded at a time in training",
    "mind_large_submission": "--exp config/exp/submit-mind.yaml, with --load RUN_FOLDER",
    "epoch_start": "--resume true, which goes on from where the run was stopped",
    "accumulate_batch": "--acc_batch",
    "n_warmup": "--warmup, in optimizer steps",
    "check_interval": "not needed: a bar, or a line each minute, tells the loss so far",
    "disable_tqdm": "not needed: a bar is shown on a terminal only",
}


@dataclass
class CommandLine:
    """The pairs as typed, cast like YAML scalars and sorted by kind."""

    layers: dict[str, str] = field(default_factory=dict)
    settings: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    dotted: dict[str, Any] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    written: dict[str, tuple[str, str]] = field(default_factory=dict)
    # origin and place of the keys that are not on the command line under this name

    def origin(self, key: str) -> str:
        """Where the value of a key was given."""
        origin, place = self.written.get(key, (COMMAND_LINE, f"--{key}"))
        return f"{origin} {place}" if origin == COMMAND_LINE else origin

    def problem(self, key: str, message: str) -> Problem:
        """Something that is wrong with a key."""
        return Problem(*self.written.get(key, (COMMAND_LINE, f"--{key}")), message)

    def give(self, key: str, value: Any, written: tuple[str, str] | None = None) -> None:
        """Set a key, in the place of what it was before."""
        self.written.pop(key, None)
        if written is not None:
            self.written[key] = written
        kind = self.flags if key in WORKER_FLAGS else self.dotted if "." in key else self.free
        kind[key] = value

    def copy(self) -> CommandLine:
        """One that can be given other keys."""
        return replace(
            self,
            layers=dict(self.layers),
            flags=dict(self.flags),
            dotted=dict(self.dotted),
            free=dict(self.free),
            written=dict(self.written),
        )


def wants_help(argv: list[str]) -> bool:
    """Whether ``--help`` or ``-h`` was given."""
    return "--help" in argv or "-h" in argv


def parse_command_line(argv: list[str], problems: list[Problem]) -> CommandLine:
    """Sort the pairs; anything that is not a pair, or is given twice, is a problem."""
    found, store = CommandLine(), None
    seen: set[str] = set()
    for key, text in _pairs(argv, problems):
        if key in seen:
            problems.append(Problem(COMMAND_LINE, f"--{key}", "is given twice"))
            continue
        seen.add(key)
        if key in LAYERS:
            found.layers[key] = layer_file(key, text)
            store = text if key == "data" and is_store(text) else store
        elif key == SETTINGS:
            found.settings = text
        else:
            found.give(key, _value(key, text, problems))
    if store is not None and "data.store" not in found.dotted:
        # A store that was moved brings its layer along, and that names where it was.
        found.give("data.store", store, (COMMAND_LINE, "--data"))
    if found.settings is not None and found.layers:
        named = ", ".join(f"--{each}" for each in found.layers)
        message = f"cannot go together with {named}: a saved settings file holds all layers"
        problems.append(Problem(COMMAND_LINE, "--settings", message))
    return found


def override(
    document: Document, line: CommandLine, problems: list[Problem], failed: Collection[str] = ()
) -> None:
    """Replace single values, as in ``--exp.policy.lr 1e-4``; only the last part of the path may be new.

    Args:
        failed: layers that could not be read, of which nothing is replaced.
    """
    for key, value in line.dotted.items():
        if key.split(".")[0] in failed:
            continue
        origin = line.origin(key)
        parts = key.split(".")
        if parts[0] not in LAYERS:
            known = ", ".join(f"--{each}.*" for each in LAYERS)
            hint = did_you_mean(parts[0], LAYERS)
            problems.append(line.problem(key, f"a dotted key is one of {known}{hint}"))
            continue
        if not all(parts):
            problems.append(line.problem(key, "a dotted key has a name between its dots"))
            continue
        parent: Any = document.tree
        for depth, part in enumerate(parts[:-1]):
            if isinstance(parent, dict) and parent.get(part) is None:
                # The block is missing or empty; whether it is allowed is checked with the settings.
                here = join(*parts[: depth + 1])
                put(document, parent, join(*parts[:depth]), part, {}, {here: origin})
            parent = _child(parent, part)
        place, last = join(*parts[:-1]), parts[-1]
        if isinstance(parent, dict) or _child(parent, last) is not None:
            put(document, parent, place, last, value, {key: origin})
        else:
            problems.append(line.problem(key, f"there is no `{last}` in `{place}` to set"))


def _child(parent: Any, part: str) -> Any:
    if isinstance(parent, list):
        return parent[int(part)] if part.isdigit() and int(part) < len(parent) else None
    return parent.get(part) if isinstance(parent, dict) else None


def _pairs(argv: list[str], problems: list[Problem]) -> list[tuple[str, str]]:
    pairs = []
    rest = [each for each in argv if each not in ("--help", "-h")]
    token = ""
    while rest:
        before, token = token, rest.pop(0)
        key, equals, value = token[2:].partition("=")
        if not token.startswith("--") or not key:
            shown = MASK if is_secret(before.partition("=")[0].strip("-")) else token
            problems.append(Problem(COMMAND_LINE, shown, f"is not a `--key value` pair{_dashes(token)}"))
        elif equals:
            pairs.append((key, value))
        elif not rest or rest[0].startswith("--"):
            is_switch = isinstance(WORKER_FLAGS.get(key, ("",))[0], bool)
            wanted = f"needs a value, as in `{token} {'true' if is_switch else 'VALUE'}`"
            problems.append(Problem(COMMAND_LINE, token, wanted))
        else:
            pairs.append((key, rest.pop(0)))
    return pairs


def _dashes(token: str) -> str:
    return f"; write `-{token}`" if token.startswith("-") and len(token) > 2 and token[1].isalpha() else ""


def _value(key: str, text: str, problems: list[Problem]) -> Any:
    """The value of a YAML scalar, a quoted text, or a list or block in YAML's flow style."""
    if text[:1] not in ("[", "{", '"', "'"):
        return cast(text)
    return parse_text(text, f"{COMMAND_LINE} --{key}", problems).tree
