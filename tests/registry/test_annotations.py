"""Every way to write a type that YAML can fill is read, and every other one is told with what to write."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from legorec import registry
from legorec.registry import FieldType

NUMBERS = count()
HEAD = """
from __future__ import annotations
import typing
import typing as t
import annotations_far
import annotations_far as far
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, List, Literal, Literal as L, NamedTuple, NewType, Optional
from typing import TypeAlias, TypedDict, Union
from annotations_far import Far, Missing, Near as Renamed
from nowhere_at_all import Thing

raise RuntimeError("imported")

Gate = Literal["a", "b"]
Typed: TypeAlias = Literal["a", "b"]
Second = Gate
Maybe = Gate | None
Old = Optional[Gate]
Several = list[Second]
Text = "Gate"
Id = NewType("Id", int)
if t.TYPE_CHECKING:
    Guarded = Literal["a", "b"]
else:
    Guarded = Gate
Round = "Circle"
Circle = list[Round]

class Colour(Enum):
    red = "red"

class Shade(StrEnum):
    red = "red"

class Row(NamedTuple):
    size: int

class Keys(TypedDict):
    size: int

class Plain:
    size: int

@dataclass
class Block:
    size: int
    gate: Gate = "a"

@dataclass
class Deep:
    inner: Block | None = None

@dataclass
class Endless:
    inner: Endless | None = None

@dataclass
class Unread:
    table: dict[str, int]

class Brick:
    def __init__(self, arg: {annotation}): ...
"""
FAR = """
from typing import Literal
Near = Literal["a", "b"]
Far = Near
"""
AB = FieldType("literal", choices=("a", "b"))
MAYBE = FieldType("literal", True, ("a", "b"))


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], registry.Parameter]:
    """The argument of a brick with an annotation, read from a file of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "annotations_far.py").write_text(FAR)

    def parameter(annotation: str) -> registry.Parameter:
        module = f"annotations_lab_{next(NUMBERS)}"
        (tmp_path / f"{module}.py").write_text(HEAD.replace("{annotation}", annotation))
        (found,) = registry.find("user_encoder", f"{module}.Brick").parameters
        assert module not in sys.modules
        return found

    return parameter


READ: dict[str, FieldType] = {
    **{name: FieldType(name) for name in ("int", "float", "bool", "str")},
    "int | None": FieldType("int", True),
    "None | int": FieldType("int", True),
    "Optional[int]": FieldType("int", True),
    "t.Optional[int]": FieldType("int", True),
    "Union[int, None]": FieldType("int", True),
    "Union[int]": FieldType("int"),
    "list[int]": FieldType("list", item=FieldType("int")),
    "List[int]": FieldType("list", item=FieldType("int")),
    "Sequence[int | None]": FieldType("list", item=FieldType("int", True)),
    "list[list[str]]": FieldType("list", item=FieldType("list", item=FieldType("str"))),
    "list[str] | None": FieldType("list", True, item=FieldType("str")),
    "Annotated[int, 'of clicks']": FieldType("int"),
    "Final[int]": FieldType("int"),
    "InitVar[int]": FieldType("int"),
    "Id": FieldType("int"),
    "Literal[1, 2]": FieldType("literal", choices=(1, 2)),
    "Literal[-1, True]": FieldType("literal", choices=(-1, True)),
    "Literal['a', 'b', None]": MAYBE,
    "Literal['a'] | Literal['b']": AB,
    "Literal['a'] | Literal['b'] | None": MAYBE,
    "Literal[Gate, 'c']": FieldType("literal", choices=("a", "b", "c")),
    "list[Gate]": FieldType("list", item=AB),
    "Several": FieldType("list", item=AB),
    **dict.fromkeys((f"{name}['a', 'b']" for name in ("Literal", "typing.Literal", "t.Literal", "L")), AB),
    **dict.fromkeys(("Gate", "Typed", "Second", "Text", "Guarded", "'Gate'", "' Gate'", "\"'Gate'\""), AB),
    **dict.fromkeys(("Far", "Renamed", "far.Far", "annotations_far.Near", "far.Near"), AB),
    **dict.fromkeys(("Maybe", "Old", "Gate | None", "Maybe | None", "'Gate | None'", "'Gate' | None"), MAYBE),
}  # fmt: skip


@pytest.mark.parametrize("annotation", READ)
def test_a_type_is_read(annotation: str, read: Callable[[str], registry.Parameter]) -> None:
    found = read(annotation)
    assert (found.type, found.unreadable) == (READ[annotation], "")


PLAIN = (
    r"write int, float, bool, str, Literal\['a', 'b'\], one of these \| None, a list of these, or a dataclass"
)
NO_TYPE = "is no type that YAML can fill; "
DATACLASS = NO_TYPE + "write a dataclass"
UNREAD = {
    "'3 +'": "^'3 \\+' is no type; " + PLAIN,
    "'a b'": "^'a b' is no type; " + PLAIN,
    "''": "^'' is no type; " + PLAIN,
    "'\\x00'": "is no type; " + PLAIN,
    "3": "^3 " + NO_TYPE + PLAIN,
    "lambda: int": NO_TYPE + PLAIN,
    "None": "^None " + NO_TYPE + PLAIN,
    "Any": "^Any " + NO_TYPE + PLAIN,
    "object": "^object " + NO_TYPE + PLAIN,
    "Nowhere": "^Nowhere " + NO_TYPE + PLAIN,
    "Missing": "^Missing " + NO_TYPE + PLAIN,
    "Thing | None": "^Thing " + NO_TYPE + PLAIN,
    "far.Nothing": "^far.Nothing " + NO_TYPE + PLAIN,
    "far.inner.Nothing": "^far.inner.Nothing " + NO_TYPE + PLAIN,
    "Plain": "^Plain " + NO_TYPE + PLAIN,
    "int | str": r"^int \| str is not one type, or one type \| None; " + PLAIN,
    "Union[int, str, None]": "is not one type",
    "Gate | int": "is not one type",
    "Circle": r"^Circle \(.*annotations_lab_\d+\.py:\d+\) is defined by itself; " + PLAIN,
    "Round": "is defined by itself",
    "dict[str, int]": r"^dict\[str, int\] " + DATACLASS + " that has its keys as fields$",
    "t.Dict[str, int]": DATACLASS,
    "Mapping[str, int] | None": DATACLASS,
    "Keys": "^Keys " + DATACLASS,
    "Row": "^Row " + DATACLASS + " with the same fields",
    "tuple[int, ...]": NO_TYPE + r"write list\[int\]",
    "set[str]": NO_TYPE + r"write list\[str\]",
    "Callable[[int], int]": NO_TYPE + r"write Literal\['relu', 'gelu'\]",
    "Path": NO_TYPE + "write str$",
    "Colour": r"^Colour " + NO_TYPE + r"write Literal\['a', 'b'\] of its values",
    "Shade | None": r"^Shade " + NO_TYPE + r"write Literal\['a', 'b'\] of its values",
    "Literal": NO_TYPE + "write out its choices",
    "Literal[()]": NO_TYPE + "write out its choices",
    "Literal[Colour.red]": NO_TYPE + "write out its choices",
    "Literal[1.5]": NO_TYPE + "write out its choices",
    "Literal[b'a']": NO_TYPE + "write out its choices",
    "Literal['a' + 'b']": NO_TYPE + "write out its choices",
    "Literal[int]": NO_TYPE + "write out its choices",
    "list": NO_TYPE + r"write of what, as in list\[int\]",
    "list[int, str]": NO_TYPE,
    "list[dict[str, int]]": DATACLASS,
    "list[Block]": r"^list\[Block\] is a list of blocks; " + PLAIN,
    "Unread": r"^the field `table: dict\[str, int\]` \(.*_lab_\d+\.py:\d+\) of Unread cannot be read, as dict"
    + ".*" + DATACLASS,
    "Unread | None": "^the field `table",
}  # fmt: skip


@pytest.mark.parametrize("annotation", UNREAD)
def test_what_is_not_read_says_why_and_what_to_write(
    annotation: str, read: Callable[[str], registry.Parameter]
) -> None:
    found = read(annotation)
    assert found.type is None
    assert re.search(UNREAD[annotation], found.unreadable), found.unreadable


def test_blocks_are_read_with_their_fields(read: Callable[[str], registry.Parameter]) -> None:
    for annotation, nullable in (("Block", False), ("Block | None", True), ("'Block'", False)):
        block = read(annotation).type
        assert block is not None and (block.form, block.nullable, block.block_name) == (
            "block",
            nullable,
            "Block",
        )
        assert {each.name: each.type for each in block.block} == {"size": FieldType("int"), "gate": AB}
    deep = read("Deep").type
    assert deep is not None and deep.block[0].type is not None and deep.block[0].type.block_name == "Block"


def test_a_block_that_holds_itself_is_read_without_that_field(
    read: Callable[[str], registry.Parameter],
) -> None:
    endless = read("Endless").type
    assert endless is not None and endless.block[0].type is None
    assert "Endless" in endless.block[0].unreadable and "is defined by itself" in endless.block[0].unreadable


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` is a statement from Python 3.12 on")
def test_the_statement_of_newer_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from typing import Literal\ntype Gate = Literal['a', 'b']\n"
    text += "class Brick:\n    def __init__(self, arg: Gate): ...\n"
    (tmp_path / "annotations_newer.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.find("user_encoder", "annotations_newer.Brick").parameters[0].type == AB
