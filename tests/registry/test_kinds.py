"""Each kind of brick is offered what the table of kinds says, and every other name is free to it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from legorec import registry
from legorec.build import build
from legorec.settings import schema
from process.embed import main as embed
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.recorders import needed, seen, write_recorders
from tests.support.runs import ROOT, finish
from tests.test_build import Block

KINDS = {name: row for name, row in registry.KINDS.items() if name != "join"}  # of items with one source
OFFERED = {name for kind in KINDS.values() for name in kind.offered}
OF_LANGUAGE_MODELS = {"pretrained", "depth"}


def words_of_the_program() -> set[str]:
    """Names of arguments of all bricks, of settings, of what is offered, and such as a model cannot have."""
    found = {
        each.name
        for kind in registry.KINDS
        for name in registry.names(kind)
        for each in registry.find(kind, name).parameters
    }
    models = [
        each for each in vars(schema).values() if isinstance(each, type) and issubclass(each, schema.Strict)
    ]
    found |= {name for model in models for name in model.model_fields}
    found |= {
        name
        for kind in registry.KINDS.values()
        for name in (kind.name, kind.joint, *kind.extras, *kind.offered)
    }
    found |= {
        "token",
        "api_key",
        "password",
        "positives_only",
        "needs_interests",
        "arguments",
        "brick",
        "kind",
    }
    found |= {
        "copy",
        "json",
        "dict",
        "schema",
        "validate",
        "model_config",
        "model_dump",
        "model_fields",
        "_hidden",
    }
    return {name for name in found if name} - {"name"}


WORDS = words_of_the_program()


@pytest.fixture(scope="module")
def profile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, and users with fields of their own, and semantic codes of the items beside it."""
    folder = tmp_path_factory.mktemp("tables")
    store = write_profile_store(folder)
    np.save(folder / "vectors.npy", np.random.default_rng(0).normal(size=(40, 8)))
    given = {"vectors": folder / "vectors.npy", "store": store, "name": "c", "levels": 2, "size": 8}
    given |= {"out": folder, "config": folder}
    embed(["codes", "--unique", *(str(part) for key, value in given.items() for part in (f"--{key}", value))])
    return store


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path


def given(module: str) -> dict[str, set[str]]:
    """The names of what each brick was given."""
    return {
        kind: {name for name, value in got.items() if value is not None} for kind, got in seen(module).items()
    }


def without(argv: list[str], *flags: str) -> list[str]:
    """The command line without flags that bricks of other models read."""
    for flag in flags:
        place = argv.index(flag)
        argv = argv[:place] + argv[place + 2 :]
    return argv


def test_each_kind_is_offered_what_the_table_says(profile_store: Path, place: Path) -> None:
    write_recorders(place, "offered_lab", {kind: dict.fromkeys(sorted(OFFERED), "=None") for kind in KINDS})
    bricks = {f"model__{kind}": f"{{name: offered_lab.{kind}}}" for kind in KINDS}
    codes = profile_store.parent / "c.yaml"
    argv = profile_arguments(profile_store, place / "runs", epoch=1, embed=codes, **bricks)
    finish(without(argv, "--embed_hidden_size"))
    got = given("offered_lab")
    assert set(got) == set(KINDS)
    for kind in KINDS.values():
        assert got[kind.name] == set(kind.offered) - OF_LANGUAGE_MODELS, kind.name


def test_the_layers_of_a_language_model_are_offered_to_item_encoders_alone(place: Path) -> None:
    folder = write_language_model(place / "bert", "bert").folder
    store = write_language_store(place / "store", bert=folder)
    kinds = [kind for kind in KINDS if kind not in ("source", "user_plugin")]
    names = dict.fromkeys(sorted(OFFERED - {"codes", "profiles"}), "=None")
    write_recorders(place, "language_lab", dict.fromkeys(kinds, names))
    bricks = {f"model__{kind}": f"{{name: language_lab.{kind}}}" for kind in kinds}
    flags = {"epoch": 1, "layer": 0, "lr": 0.001, "item_lr": "null", **bricks}
    argv = language_arguments(store, folder, place / "cache", place / "runs", "bert-nrms", "tt-llm", **flags)
    finish(without(argv, "--hidden_size", "--heads"))
    for kind, got in given("language_lab").items():
        assert got == set(KINDS[kind].offered) - {"vectors", "codes", "profiles"}, kind


def test_nothing_is_offered_that_is_not_in_the_table() -> None:
    with pytest.raises(AssertionError, match="user_encoder: {'depth'}"):
        build("user_encoder", Block("naml"), {"input_dim": 16, "depth": 1})


def test_every_name_that_the_program_uses_is_free_to_a_brick_of_every_kind(
    profile_store: Path, place: Path
) -> None:
    """Set in YAML it reaches the constructor, in training and where the trained run is loaded."""
    assert len(WORDS) > 150
    assert {"cache", "layer", "depth", "checkpoint", "disagreement", "seed", "token"} <= WORDS
    free = {kind: sorted(WORDS - set(row.offered)) for kind, row in KINDS.items()}
    write_recorders(
        place,
        "names_lab",
        {kind: needed(kind) | dict.fromkeys(each, ": str = 'left'") for kind, each in free.items()},
    )
    bricks = {
        f"model__{kind}": json.dumps({"name": f"names_lab.{kind}", **dict.fromkeys(each, "mine")})
        for kind, each in free.items()
    }
    argv = profile_arguments(profile_store, place / "runs", epoch=1, **bricks)
    trained = finish(without(argv, "--embed_hidden_size"))
    reached(free, set(KINDS))
    argv = profile_arguments(profile_store, place / "test", load=trained, **bricks)
    argv[argv.index("--exp") + 1] = f"{ROOT}/config/exp/test.yaml"
    finish(without(argv, "--embed_hidden_size", "--epoch", "--batch_size", "--patience"))
    reached(free, set(KINDS) - {"objective"})  # nothing is learned


def reached(free: dict[str, list[str]], kinds: set[str]) -> None:
    """The bricks of these kinds were built anew, and have what was written for them."""
    assert set(seen("names_lab")) == kinds
    for kind, got in seen("names_lab").items():
        assert {name: got[name] for name in free[kind]} == dict.fromkeys(free[kind], "mine"), kind
    seen("names_lab").clear()


def test_the_docs_list_what_is_offered() -> None:
    page = (ROOT / "docs" / "add-a-brick.md").read_text(encoding="utf-8")
    for kind in registry.KINDS.values():
        offered = ", ".join(f"`{name}`" for name in kind.offered) or "nothing"
        assert f"\n| {kind.said} | {offered} |\n" in page


def kinds_compared(text: str) -> list[int]:
    """Lines where something is compared with the name of a kind, or looked for among such names."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if not isinstance(node.ops[0], ast.Eq | ast.NotEq):
                listed = [
                    each for each in node.comparators if isinstance(each, ast.Tuple | ast.List | ast.Set)
                ]
                sides = [part for each in listed for part in each.elts]
            if any(isinstance(each, ast.Constant) and each.value in registry.KINDS for each in sides):
                found.append(node.lineno)
    return found


def test_what_depends_on_a_kind_stands_in_the_table() -> None:
    assert kinds_compared('if kind == "source": ...\nif kind in ("source", "predictor"): ...') == [1, 2]
    assert kinds_compared('if "source" in bricks: ...\nif bricks["source"] == "table": ...') == []
    files = [*(ROOT / "legorec").rglob("*.py"), ROOT / "docs" / "catalogue.py"]
    assert len(files) > 100
    found = {path: kinds_compared(path.read_text(encoding="utf-8")) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}
