"""R11: nothing in the package runs code from data or unpickles it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "legorec").rglob("*.py"), *(ROOT / "process").rglob("*.py"), ROOT / "worker.py"]
REFUSED_CALLS = {"eval", "exec", "compile", "__import__"}
REFUSED_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
REFUSED_ATTRIBUTES = {
    *(("yaml", each) for each in ("load", "load_all", "full_load", "unsafe_load")),
    *(("yaml", each) for each in ("Loader", "FullLoader", "UnsafeLoader")),
    ("os", "system"), ("os", "popen"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
}  # fmt: skip
# An unpickler that admits builtin containers, numbers and strings alone may live here, for foreign depots.
ALLOWED: set[str] = {"legorec/data/safe_pickle.py"}


def refused(source: str) -> list[str]:
    """The lines that could run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno} import {each.name}" for each in node.names if each.name in REFUSED_MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and node.module in REFUSED_MODULES:
            found.append(f"{node.lineno} from {node.module}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in REFUSED_ATTRIBUTES:
                found.append(f"{node.lineno} {node.value.id}.{node.attr}")
        if isinstance(node, ast.Call):
            found += _refused_call(node)
    return found


def _refused_call(node: ast.Call) -> list[str]:
    called = ast.unparse(node.func)
    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if called in REFUSED_CALLS:
        return [f"{node.lineno} {called}"]
    if called == "torch.load" and words.get("weights_only") != "True":
        return [f"{node.lineno} torch.load without weights_only=True"]
    if words.get("allow_pickle", "False") != "False" or words.get("trust_remote_code", "False") != "False":
        return [f"{node.lineno} {called} with allow_pickle or trust_remote_code"]
    if words.get("shell", "False") != "False":
        return [f"{node.lineno} {called} with shell"]
    return []


def test_r11_there_are_sources() -> None:
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_r11_no_source_runs_what_it_reads(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in ALLOWED:
        assert refused(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["eval('1')", "exec(x)", "import pickle", "from pickle import loads", "yaml.load(x, Loader=L)",
     "torch.load(x)", "np.load(x, allow_pickle=True)", "yaml.unsafe_load(x)", "run(x, shell=True)",
     "f(x, trust_remote_code=True)"],
)  # fmt: skip
def test_r11_the_check_sees_what_it_should(source: str) -> None:
    assert refused(source)
