"""Imports point one way, and heavy libraries are imported where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From left to right; a part imports itself and what stands to its left, never another of its set.
ORDER: list[set[str]] = [
    {"files", "nn", "item_lists"},
    {"batch", "registry", "template", "processes", "halving", "signals", "sequences", "threads", "shipped"},
    {"abilities", "tie_blocks"},
    {"metrics"},
    {"significance", "slices"},
    {"data"},
    {"lm"},
    {"texts"},
    {"prompts"},
    {"sources", "item_encoders", "joins", "user_encoders", "user_plugins", "predictors"},
    {"item_parts"},
    {"recommender"},
    {"objectives", "scorers"},
    {"aligning"},
    {"engine"},
    {"compose"},
    {"settings", "build"},
    {"recipes"},
    {"service"},
    {"program"},
    {"worker", "__main__"},
]
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}
# What a part may import of the library, where that is less than all to its left.
ONLY = {
    "registry": set(),
    "compose": {"registry", "shipped"},
    "build": {"registry"},
    "settings": {
        "registry",
        "template",
        "compose",
        "shipped",
        "metrics",  # inside a function, to know a metric's name
        "texts",  # inside a function, to know an endpoint's rules
    },
    "process": {"data", "files", "lm", "texts", "settings"},  # settings: a scheme is read as its run does
}
HEAVY = {"transformers", "peft", "accelerate"}
FILES = [
    *(path for path in sorted((ROOT / "legorec").rglob("*.py")) if path != ROOT / "legorec" / "__init__.py"),
    *sorted((ROOT / "process").rglob("*.py")),
    ROOT / "worker.py",
]


def part_of(path: Path) -> str:
    """``legorec/nn/attention.py`` -> nn, ``legorec/batch.py`` -> batch, ``process/mind.py`` -> process."""
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return rest[0] if first == "legorec" else first


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)


def wrong_imports(path: Path, text: str) -> list[str]:
    part, found = part_of(path), []
    for line, name in imported(ast.parse(text), path.relative_to(ROOT).parts[:-1]):
        top, *rest = name.split(".")
        if top != "legorec" or not rest or rest[0] == part:
            continue
        allowed = ONLY.get(part, {each for each in RANK if RANK[each] < RANK.get(part, -1)})
        if rest[0] not in allowed:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def heavy_imports(path: Path, text: str) -> list[str]:
    """Heavy libraries imported when the module is."""
    at_import = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [(line, name) for node in at_import for line, name in imported(node, ())]
    return [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in names if name.split(".")[0] in HEAVY]


def test_there_are_files_of_many_parts():
    assert len(FILES) > 50
    assert {part_of(path) for path in FILES} >= set(RANK) - {"prompts"}


def test_every_part_has_its_place():
    assert {part_of(path) for path in FILES} <= set(RANK) | {"process"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_the_left(path):
    assert wrong_imports(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path):
    if part_of(path) != "lm":
        assert heavy_imports(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("legorec/nn/attention.py", "from legorec.batch import ClickBatch"),
        ("legorec/nn/attention.py", "from ..batch import ClickBatch"),
        ("legorec/files/whole.py", "from legorec.nn import mlp"),
        ("legorec/data/store.py", "def f():\n    from legorec.engine import run"),
        ("legorec/sources/table.py", "from legorec.item_encoders.naml import TextView"),
        ("legorec/objectives/pointwise.py", "import legorec.scorers.clicks"),
        ("legorec/compose/documents.py", "from legorec import settings"),
        ("legorec/settings/schema.py", "from legorec.data.store import Store"),
        ("legorec/engine/fit.py", "if TYPE_CHECKING:\n    from legorec.settings import Settings"),
        ("process/mind.py", "from legorec.recommender import Recommender"),
    ],
)
def test_an_arrow_to_the_right_is_found(file, line):
    assert len(wrong_imports(ROOT / file, line)) == 1


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of the library."""
    found = {}
    for path in (ROOT / "legorec").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, text: str, known: Mapping[str, Path]) -> set[str]:
    """The modules of the library that one of them imports, also in a function or for types alone."""
    is_package = known[name].name == "__init__.py"
    package = tuple(name.split(".") if is_package else name.split(".")[:-1])
    found = set()
    for _, target in imported(ast.parse(text), package):
        parts = target.split(".")
        within = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
        found.update([module for module in within if module in known][:1])
    return found - {name}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_through_others():
    known = modules()
    graph = {name: imports_of(name, path.read_text(encoding="utf-8"), known) for name, path in known.items()}
    assert len(graph) > 100 and sum(map(len, graph.values())) > 300
    assert circle(graph) == []


def test_a_circle_is_found():
    known = {name: ROOT / f"{name}.py" for name in ("legorec.a", "legorec.b", "legorec.c")}
    lines = {
        "legorec.a": "from legorec.b import B",
        "legorec.b": "def f():\n    from legorec import c",
        "legorec.c": "if TYPE_CHECKING:\n    from legorec.a import A",
    }
    graph = {name: imports_of(name, text, known) for name, text in lines.items()}
    assert set(circle(graph)) == set(known)


def test_a_heavy_import_is_found():
    file = ROOT / "legorec" / "data" / "text.py"
    assert len(heavy_imports(file, "import peft.tuners\nfrom transformers import AutoModel")) == 2
    assert heavy_imports(file, "def f():\n    import peft") == []


def test_a_brick_alone_loads_little():
    code = "import sys; from legorec.user_encoders.nrms import NRMSUserEncoder; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in (*HEAVY, "yaml", "pydantic", "polars", "rich", "tokenizers", "pigmento"):
        assert f"'{name}'" not in done.stdout
    assert "'torch'" in done.stdout
