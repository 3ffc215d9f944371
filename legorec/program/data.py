"""``legorec data``: the processors of ``process/``, by name."""

from __future__ import annotations

import ast
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from legorec.data.raw.command import run
from legorec.registry import did_you_mean
from legorec.shipped import shipped


def processors() -> dict[str, Path]:
    """The scripts by name."""
    return {each.stem: each for each in sorted(shipped("process").glob("*.py")) if each.stem != "__init__"}


def about(script: Path) -> str:
    """The first sentence of a script's docstring."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ").partition(": python process")[0]


def main(argv: list[str]) -> int:
    """List the processors, or run one with its own arguments."""
    found = processors()
    if not argv or argv[0] in ("--help", "-h"):
        width = max(map(len, found))
        rows = [f"  {name:<{width}}  {about(script)}" for name, script in found.items()]
        print("\n".join(["usage: legorec data NAME [--help] ...", "", *rows]))
        return 0
    name = argv[0].lower().replace("-", "_")
    if name not in found:
        near = did_you_mean(name, found) or f"; there are {', '.join(found)}"
        raise ValueError(f"no processor {argv[0]!r}{near}")
    sys.argv = [f"legorec data {name}", *argv[1:]]  # which usage and messages begin with
    run(module_of(found[name]).main, argv[1:])


def module_of(script: Path) -> Any:
    """A script as a module; its folder is no package in a checkout."""
    spec = spec_from_file_location(f"legorec_process_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
