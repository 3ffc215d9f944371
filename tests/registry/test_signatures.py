"""A constructor is found wherever it stands, and where it cannot be, that is told and nothing is denied."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec import registry
from legorec.registry.listing import details

LAB = """
import abc
from abc import ABC
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch
from torch import nn
from torch.nn import Module as TorchModule

import nowhere_at_all
import signatures_base
from nowhere_at_all import Unseen

T = TypeVar("T")

class Bare(nn.Module): ...
class BareToo(TorchModule): ...
class Of(nn.Module, Generic[T]):
    def __init__(self, size: int = 3): ...
class ByAttribute(signatures_base.Base): ...
class BySubscript(Of[int], ABC): ...
class BehindMixin(signatures_base.Mixin, signatures_base.Base): ...
class FromUnseen(Unseen): ...
class FromFolder(nowhere_at_all.Unseen): ...
class Own(Unseen):
    def __init__(self, size: int = 3): ...
Renamed = Of
if True:
    class Guarded:
        def __init__(self, size: int = 3): ...
class Unannotated:
    def __init__(self, size, rate=0.1): ...
class Called:
    def __init__(self, name: str = "x"): ...
@dataclass
class Block:
    name: str = "x"
class WithBlock:
    def __init__(self, part: Block | None = None): ...
class Defaults:
    def __init__(self, a: list[int] = (1, 2), b: float = 1e999, c: str = b"x", d: int = {[]: 1}, e: int = ...,
                 f: int = -3, g: int = 1 + 1, h: list[str] | None = [*"ab"]): ...
"""
BASE = """
class Base:
    def __init__(self, size: int = 3): ...
class Mixin:
    def far(self): ...
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signatures_lab.py").write_text(LAB)
    (tmp_path / "signatures_base.py").write_text(BASE)
    monkeypatch.syspath_prepend(str(tmp_path))


def brick(name: str) -> registry.Brick:
    return registry.find("user_encoder", f"signatures_lab.{name}")


@pytest.mark.parametrize(
    "name", ["Of", "ByAttribute", "BySubscript", "BehindMixin", "Own", "Renamed", "Guarded"]
)
def test_a_constructor_is_found(name: str) -> None:
    assert [(each.name, each.default) for each in brick(name).settable] == [("size", 3)]


@pytest.mark.parametrize("name", ["Bare", "BareToo"])
def test_a_module_without_a_constructor_takes_nothing(name: str) -> None:
    assert brick(name).parameters == ()


@pytest.mark.parametrize(
    ("name", "base"), [("FromUnseen", "Unseen"), ("FromFolder", "nowhere_at_all.Unseen")]
)
def test_a_base_that_cannot_be_read_is_told(name: str, base: str) -> None:
    message = (
        rf"signatures_lab\.py:\d+ {name} inherits from {base}, whose source is not found; give {name} an "
    )
    with pytest.raises(registry.RegistryError, match=message):
        brick(name)


def test_arguments_without_annotations_are_kept_with_what_to_write() -> None:
    size, rate = brick("Unannotated").own
    assert (size.written, rate.written) == ("size", "rate")
    assert size.required and not rate.required and rate.default == 0.1
    assert size.unreadable.startswith("it has no annotation; write int, float, bool, str, ")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_an_argument_called_name_is_refused_by_name(kind: str) -> None:
    message = (
        r"signatures_lab\.py:\d+ Called has an argument `name`, which can never be set: .* call the argument"
    )
    with pytest.raises(registry.RegistryError, match=message):
        registry.find(kind, "signatures_lab.Called")


def test_a_field_of_a_block_may_be_called_name() -> None:
    read = brick("WithBlock").settable[0].type
    assert read is not None and [each.name for each in read.block] == ["name"]


def test_a_brick_is_shown_with_such_a_block_and_with_what_cannot_be_set() -> None:
    assert "- `part` (a block)\n- `part.name: str = x`\n" in details(brick("WithBlock"))
    shown = details(brick("Unannotated"))
    assert "- `size` (cannot be set in YAML: it has no annotation; write int, float, " in shown


def test_defaults_are_those_that_yaml_could_hold() -> None:
    found = {each.name: each.default for each in brick("Defaults").parameters}
    assert found == {"a": (1, 2), "f": -3} | dict.fromkeys("bcdegh", registry.UNREAD)
