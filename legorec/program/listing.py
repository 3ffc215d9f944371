"""``legorec ls`` and ``legorec show``: what there is, and one of it in full."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from legorec.compose import LAYERS, SettingsError, to_yaml
from legorec.compose.documents import read_document
from legorec.compose.problems import Problem
from legorec.program.found import about, bricks, configs, layers_of, runs, stores
from legorec.registry import did_you_mean, find
from legorec.registry.listing import details, listing
from legorec.shipped import config_file


def ls(argv: list[str]) -> int:
    """Print what there is of the named kinds, or how much of each."""
    kinds: dict[str, Callable[[], list[str]]] = {
        "models": lambda: _configs("model"),
        **{layer: lambda layer=layer: _configs(layer) for layer in LAYERS if layer != "model"},  # type: ignore[misc]
        "bricks": lambda: [listing().rstrip()],
        "stores": lambda: [str(each) for each in stores()],
        "runs": lambda: [_run_line(each) for each in runs()],
    }
    unknown = [each for each in argv if each not in kinds]
    if unknown:
        near = did_you_mean(unknown[0], kinds) or f"; there are {', '.join(kinds)}"
        raise ValueError(f"nothing is called {unknown[0]!r} here{near}")
    if not argv:
        counts = {name: len(found()) for name, found in kinds.items() if name != "bricks"}
        counts["bricks"] = sum(map(len, bricks().values()))
        print("\n".join(f"{count:5d}  {name:<8} legorec ls {name}" for name, count in counts.items()))
    for name in argv:
        print("\n".join(kinds[name]() or [f"no {name} here"]))
    return 0


def _configs(layer: str) -> list[str]:
    found = configs(layer)
    width = max(map(len, found))
    return [f"{name:<{width}}  {about(file)}".rstrip() for name, file in found.items()]


def _run_line(run: Path) -> str:
    file = run / "metrics.json"
    if not file.is_file():
        return f"{run}  not finished"
    metrics: Any = json.loads(file.read_text(encoding="utf-8"))
    for split in ("test", "dev"):
        if split in metrics:
            values = metrics[split].get("metrics", {})
            return f"{run}  {split} " + "  ".join(f"{name} {value:.4f}" for name, value in values.items())
    return f"{run}  {', '.join(metrics)}"


def show(argv: list[str]) -> int:
    """Print a configuration file with what it imports, a brick, a data store or a run."""
    if not 1 <= len(argv) <= 2:
        raise ValueError("name one thing, as in `legorec show lego_naml` or `legorec show predictor dcn`")
    print("\n\n".join(_shown(*argv)))
    return 0


def _shown(name: str, other: str | None = None) -> list[str]:
    if other is not None:
        if name in LAYERS:
            return [_config(configs(name).get(other, Path(f"config/{name}/{other}.yaml")))]
        return [details(find(name, other))]
    path = Path(config_file(name))
    if (path / "settings.yaml").is_file():
        return [_run_line(path), (path / "settings.yaml").read_text(encoding="utf-8").rstrip()]
    if (path / "manifest.json").is_file():
        from legorec.data.raw.command import counts
        from legorec.data.store import Store

        return ["\n".join(counts(Store.open(path)))]
    if path.is_file():
        return [_config(path)]
    found = [_config(file) for _, file in layers_of(name)]
    found += [details(find(kind, name)) for kind in bricks().get(name, [])]
    if not found:
        known = [*bricks(), *(each for layer in LAYERS for each in configs(layer))]
        near = did_you_mean(name, known) or "; `legorec ls` says what there is"
        raise ValueError(f"no configuration file, brick, store or run is called {name!r}{near}")
    return found


def _config(file: Path) -> str:
    """A file with its imports merged in; references stay as they are written."""
    problems: list[Problem] = []
    tree = read_document(str(file), problems).tree
    if problems:
        raise SettingsError(problems)
    return f"# {file}, with what it imports\n{to_yaml(tree)}".rstrip()
