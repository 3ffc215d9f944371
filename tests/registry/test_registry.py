"""Bricks are found and read without importing them, and read right."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from legorec import registry

EVERY_BRICK = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]


def test_there_are_bricks_of_every_kind() -> None:
    assert all(len(registry.names(kind)) > 0 for kind in registry.KINDS)


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_what_ast_reads_is_what_inspect_tells(kind: str, name: str) -> None:
    brick = registry.find(kind, name)
    loaded = registry.load(brick)
    # A module without a constructor of its own shows nn.Module's (*args, **kwargs), which takes nothing.
    written = [each for each in loaded.__mro__ if each.__module__.split(".")[0] not in ("torch", "builtins")]
    has_own = any("__init__" in vars(each) for each in written)
    told = inspect.signature(loaded).parameters if has_own else {}
    assert [each.name for each in brick.parameters] == list(told)
    for each in brick.parameters:
        assert each.required == (told[each.name].default is inspect.Parameter.empty), each.name
        if not each.required and each.default is not registry.UNREAD:
            assert each.default == told[each.name].default, each.name


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_every_parameter_is_offered_or_can_be_written_in_yaml(kind: str, name: str) -> None:
    for each in registry.find(kind, name).settable:
        assert each.type is not None, f"{each.name}: {each.annotation}"


def test_finding_imports_nothing() -> None:
    code = (
        "import sys\nfrom legorec import registry\n"
        "for kind in registry.KINDS:\n    for name in registry.names(kind): registry.find(kind, name)\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("user_encoder", "nmrs", r"no user_encoder 'nmrs'; there are .*; did you mean 'nrms'\?"),
        ("user_encoder", "../nrms", r"no user_encoder|no module"),
        ("user_encodr", "nrms", r"no kind of brick 'user_encodr'.*did you mean 'user_encoder'\?"),
        (
            "source",
            "nowhere_at_all.encoders.Hyper",
            r"no module 'nowhere_at_all.encoders' on the Python path",
        ),
        ("source", "json.encoder.JSONEncodr", r"no class 'JSONEncodr' in .*did you mean 'JSONEncoder'\?"),
        ("source", "math.Sin", r"no module 'math'"),
    ],
)
def test_what_is_not_there_is_told(kind: str, name: str, message: str) -> None:
    with pytest.raises(registry.RegistryError, match=message):
        registry.find(kind, name)


LAB = '''
"""A brick from elsewhere."""
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal, Optional

raise RuntimeError("imported")

@dataclass
class Lora:
    rank: int = 8
    layers: list[int] | None = None

class Hyper:
    def __init__(self, input_dim: int, size: int, *, rate: float = -0.5, how: Literal["a", "b"] = "a",
                 names: list[str] | None = None, lora: Lora | None = None, old: Optional[int] = None,
                 act: object = print) -> None:
        self.lora = lora

class Child(Hyper):
    pass

class Flat:
    def __init__(self, **kwargs): ...

class Needs:
    def __init__(self, thing: object): ...
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my_lab"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from .encoders import Hyper as Renamed\nraise RuntimeError('imported')"
    )
    (folder / "encoders.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_dotted_path_is_found_without_importing_it(lab: Path) -> None:
    brick = registry.find("user_encoder", "my_lab.encoders.Hyper")
    read = {each.name: each for each in brick.parameters}
    assert list(read) == ["input_dim", "size", "rate", "how", "names", "lora", "old", "act"]
    assert brick.offered == ("input_dim",)
    assert read["size"].required and not read["rate"].required
    assert read["rate"].default == -0.5
    assert read["how"].type == registry.FieldType("literal", choices=("a", "b"))
    assert read["names"].type == registry.FieldType("list", True, item=registry.FieldType("str"))
    assert read["old"].type == registry.FieldType("int", nullable=True)
    assert read["act"].type is None and read["act"].default is registry.UNREAD
    block = read["lora"].type
    assert block is not None and block.form == "block" and block.nullable
    assert [each.name for each in block.block] == ["rank", "layers"]


def test_a_constructor_is_read_through_a_base_and_through_a_package(lab: Path) -> None:
    own = registry.find("user_encoder", "my_lab.encoders.Hyper").parameters
    assert registry.find("user_encoder", "my_lab.encoders.Child").parameters == own
    assert registry.find("user_encoder", "my_lab.Renamed").parameters == own


def test_a_constructor_that_is_not_flat_is_refused(lab: Path) -> None:
    with pytest.raises(registry.RegistryError, match=r"encoders.py:\d+ the constructor of Flat must be flat"):
        registry.find("user_encoder", "my_lab.encoders.Flat")


def test_a_file_that_is_not_python_is_told_with_its_line(lab: Path) -> None:
    (lab / "broken.py").write_text("x = 1\nclass A(:\n")
    with pytest.raises(registry.RegistryError, match=r"broken.py:2 is not valid Python"):
        registry.find("user_encoder", "my_lab.broken.A")


def test_a_nested_block_becomes_its_dataclass_when_constructed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocks_lab.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            @dataclass
            class Lora:
                rank: int = 8
            class Hyper:
                def __init__(self, lora: Lora | None = None):
                    self.lora = lora
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    brick = registry.find("user_encoder", "blocks_lab.Hyper")
    assert registry.construct(brick, {"lora": {"rank": 3}}).lora.rank == 3
    assert registry.construct(brick, {"lora": None}).lora is None


@dataclass
class Spelling:
    typed: str
    choices: tuple[str, ...]
    near: str | None


@pytest.mark.parametrize(
    "case",
    [
        Spelling("hiden_size", ("hidden_size", "heads"), "hidden_size"),
        Spelling("batch-size", ("batch_size", "acc_batch"), "batch_size"),
        Spelling("NRMS", ("nrms", "naml"), "nrms"),
        Spelling("warm", ("warmup", "lr"), "warmup"),
        Spelling("zzzz", ("nrms", "naml"), None),
    ],
)
def test_the_nearest_name(case: Spelling) -> None:
    assert registry.nearest(case.typed, case.choices) == case.near
