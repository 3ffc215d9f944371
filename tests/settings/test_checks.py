"""An argument of a brick is set, or refused by its name with what to write; none is said not to be there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from legorec import registry
from legorec.settings import Settings, SettingsError, read_command_line
from tests.support.config_files import FILES, arguments, write_files

LAB = """
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Literal

if TYPE_CHECKING:
    from nowhere_at_all import Thing

Gate = Literal["a", "b"]

@dataclass
class Part:
    size: int = 3
    table: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=lambda: ["x"])

class Brick:
    def __init__(self, gate: Gate = "a", bare=3, act: Callable[[int], int] = abs, broken: "3 +" = 1,
                 table: dict[str, int] = {}, part: Part | None = None, made: Part = Part(), depth: int = 2):
        self.part = part

    def forward(self, clicks_BHD, mask_BH): ...

class Needs:
    def __init__(self, thing: Thing): ...
    def forward(self, clicks_BHD, mask_BH): ...

class NeedsBare:
    def __init__(self, thing): ...
    def forward(self, clicks_BHD, mask_BH): ...

class Called:
    def __init__(self, name: str): ...
    def forward(self, clicks_BHD, mask_BH): ...

class Wide:
    def __init__(self, pool_dim: int = -1): ...
    def forward(self, clicks_BHD, mask_BH): ...
"""
HEIR = """
from nowhere_at_all import Unseen

class Heir(Unseen): ...
"""
READABLE = "gate, part, made, depth"


@pytest.fixture(scope="module", autouse=True)
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One place for all tests: what was read of a module is remembered."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "checks_lab.py").write_text(LAB)
    (folder / "checks_heir.py").write_text(HEIR)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder / "checks_lab.py"


def line(part: str) -> int:
    """The line of the module that holds this."""
    (found,) = [number for number, text in enumerate(LAB.split("\n"), start=1) if part in text]
    return found


def read(folder: Path, name: str, **given: object) -> Settings:
    """The settings of a model with that user encoder."""
    write_files(folder)
    block = json.dumps({"name": name if "." in name else f"checks_lab.{name}", **given})
    old = "user_encoder:\n  name: nrms\n  heads: 8\n"
    assert FILES["model.yaml"].count(old) == 1
    (folder / "model.yaml").write_text(FILES["model.yaml"].replace(old, f"user_encoder: {block}\n"))
    return read_command_line(arguments(folder))


def refused(folder: Path, name: str, **given: object) -> tuple[str, str]:
    """Place and message of the one problem, which stands in the model's file."""
    with pytest.raises(SettingsError) as caught:
        read(folder, name, **given)
    (problem,) = caught.value.problems
    assert problem.origin == f"{folder}/model.yaml:9"
    return problem.place, problem.message


def test_what_an_alias_stands_for_is_set(tmp_path: Path) -> None:
    assert read(tmp_path, "Brick", gate="b").model.user_encoder.arguments["gate"] == "b"
    place, message = refused(tmp_path, "Brick", gate="c")
    assert (place, message) == ("model.user_encoder.gate", "must be 'a' or 'b', got 'c'")


@pytest.mark.parametrize(
    ("argument", "written", "way_out"),
    [
        ("bare", "bare", "it has no annotation; write int, float, "),
        ("act", "act: Callable[[int], int]", "write Literal['relu', 'gelu'] and choose in the constructor"),
        ("broken", "broken: '3 +'", "'3 +' is no type; write int, float, "),
        ("table", "table: dict[str, int]", "write a dataclass that has its keys as fields"),
    ],
)
def test_what_cannot_be_read_is_answered_as_such(
    tmp_path: Path, lab: Path, argument: str, written: str, way_out: str
) -> None:
    place, message = refused(tmp_path, "Brick", **{argument: 1})
    assert place == f"model.user_encoder.{argument}"
    number = line("bare=3" if argument != "table" else "table: dict[str, int] = {}")
    assert message.startswith(f"cannot be set: `{written}` ({lab}:{number}) cannot be read, as ")
    assert way_out in message and "no such setting" not in message


def test_inside_of_a_block_too(tmp_path: Path, lab: Path) -> None:
    place, message = refused(tmp_path, "Brick", part={"table": {"a": 1}})
    assert place == "model.user_encoder.part.table"
    assert message.startswith(
        f"cannot be set: `table: dict[str, int]` ({lab}:{line('table: dict[str, int] = field')})"
    )
    place, message = refused(tmp_path, "Brick", part={"sise": 1})
    assert message == "there is no such setting; allowed here: size, names; did you mean 'size'?"


def test_what_is_not_there_is_told_with_what_can_be_set(tmp_path: Path) -> None:
    place, message = refused(tmp_path, "Brick", gata="a")
    assert message == f"there is no such setting; allowed here: {READABLE}; did you mean 'gate'?"


def test_defaults_that_only_the_code_knows_are_left_to_it(tmp_path: Path) -> None:
    assert read(tmp_path, "Brick").model.user_encoder.arguments == {"gate": "a", "part": None, "depth": 2}
    given = read(tmp_path, "Brick", part={}).model.user_encoder.arguments["part"]
    assert given == {"size": 3}


def test_a_block_is_built_with_its_own_defaults(tmp_path: Path) -> None:
    arguments = read(tmp_path, "Brick", part={"size": 4}).model.user_encoder.arguments
    part = registry.construct(registry.find("user_encoder", "checks_lab.Brick"), arguments).part
    assert (part.size, part.table, part.names) == (4, {}, ["x"])


def test_a_name_that_is_offered_to_another_kind_is_the_brick_s_own(tmp_path: Path) -> None:
    assert "depth" in registry.KINDS["item_encoder"].offered
    assert read(tmp_path, "Brick", depth=5).model.user_encoder.arguments["depth"] == 5
    place, message = refused(tmp_path, "Brick", input_dim=5)
    assert message == "is told by the program (the width of the item vectors) and may not be set"


@pytest.mark.parametrize(
    ("name", "at", "said"),
    [
        (
            "Needs",
            "thing: Thing",
            "needs `thing: Thing` ({}), which YAML cannot fill and the program does not ",
        ),
        ("NeedsBare", "self, thing)", "needs `thing` ({}), which YAML cannot fill and the program does not "),
        ("Called", "name: str", "{} Called has an argument `name`, which can never be set"),
        (
            "checks_heir.Heir",
            "",
            "checks_heir.py:4 Heir inherits from Unseen, whose source is not found; give ",
        ),
    ],
)
def test_a_brick_that_can_never_be_made_is_refused_where_it_is_named(
    tmp_path: Path, lab: Path, name: str, at: str, said: str
) -> None:
    place, message = refused(tmp_path, name)
    assert place == "model.user_encoder.name"
    assert said.format(f"{lab}:{line(at)}" if at else "") in message
    if name.startswith("Needs"):
        offered = ", ".join(registry.KINDS["user_encoder"].offered)
        assert message.endswith(f"or give it a default; offered to a user encoder are {offered}")


def test_a_dim_of_a_brick_from_outside_need_not_be_a_width(tmp_path: Path) -> None:
    assert read(tmp_path, "Wide").model.user_encoder.arguments == {"pool_dim": -1}


def test_a_bare_flag_is_told_where_the_argument_is(tmp_path: Path) -> None:
    """Followed, that place says what to write."""
    read(tmp_path, "Brick")
    for argument in ("gate", "act"):
        with pytest.raises(SettingsError, match=rf"have it: --model\.user_encoder\.{argument}$"):
            read_command_line(arguments(tmp_path, f"--{argument}", "b"))


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if kind != "join"])  # which needs parts
def test_a_word_of_the_settings_is_a_name_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Saved and read again too; what looks like a secret is masked, and has to be given again."""
    words = ["copy", "json", "schema", "model_config", "model_dump", "model_fields", "arguments", "_hidden"]
    words += ["token", "api_key", "disagreement", "checkpoint", "seed", "device", "resume", "mode", "kind"]
    text = ", ".join(f"{word}: str = 'left'" for word in words)
    told = "model, batch" if kind == "objective" else "one, two" if registry.NUM_TENSORS[kind] == 2 else "one"
    lines = [f"class Words:\n    def __init__(self, {text}): ...", f"    def forward(self, {told}): ..."]
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"words_{kind}.py").write_text("\n".join(lines))
    write_files(tmp_path)
    block = json.dumps({"name": f"words_{kind}.Words", **dict.fromkeys(words, "mine")})
    settings = read_command_line(arguments(tmp_path, f"--model.{kind}", block))
    assert getattr(settings.model, kind).arguments == dict.fromkeys(words, "mine")
    (tmp_path / "run").mkdir()
    settings.save(tmp_path / "run" / "settings.yaml")
    saved = ["--settings", str(tmp_path / "run" / "settings.yaml"), "--allow", f"words_{kind}"]
    with pytest.raises(SettingsError) as caught:
        read_command_line(saved)
    secret = [f"model.{kind}.{word}" for word in ("token", "api_key")]
    assert [each.place for each in caught.value.problems] == secret
    again = [part for place in secret for part in (f"--{place}", "mine")]
    assert read_command_line([*saved, *again]).digest() == settings.digest()
