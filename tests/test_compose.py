"""Layers, imports, references and command line come together as one tree with origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legorec.compose import compose, to_yaml
from legorec.compose.files import Document, parse_text, read_document
from legorec.compose.problems import Problem
from legorec.compose.references import References, split
from legorec.compose.scalars import cast

from .config_files import arguments, write_files


def resolved(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The tree without references, and the messages."""
    problems: list[Problem] = []
    found = References(tree, lambda place: "here", problems).resolve()
    return found, [f"{each.place}: {each.message}" for each in problems]


def test_a_right_set_of_files_composes(tmp_path: Path) -> None:
    write_files(tmp_path)
    composition = compose(arguments(tmp_path, "--lr", "1e-4", "--version", "large", "--seed", "7"))
    assert composition.problems == []
    assert composition.layers["data"]["name"] == "MIND-large"
    assert composition.layers["data"]["store"] == "data/MIND-large"
    assert composition.layers["exp"]["name"] == "tt-NRMS"
    assert composition.layers["exp"]["policy"]["lr"] == 1e-4
    assert composition.layers["exp"]["policy"]["item_lr"] is None
    assert composition.flags["seed"] == 7
    origins = composition.origins
    assert origins["exp.policy.lr"] == f"command line --lr ({tmp_path}/parts/policy.yaml:3)"
    assert origins["exp.policy.item_lr"] == f"{tmp_path}/parts/policy.yaml:4 (default of --item_lr)"
    assert origins["exp.mode"] == f"{tmp_path}/exp.yaml:3"
    assert origins["data.store"] == f"{tmp_path}/parts/clicks.yaml:1"
    assert origins["seed"] == "command line --seed" and origins["device"] == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-4", -4), ("+3", 3), (".5", 0.5), ("2.", 2.0), ("0x1f", 31),
        ("0o17", 15), ("null", None), ("~", None), ("", None), ("true", True), ("False", False), ("no", "no"),
        ("on", "on"), ("1_000", "1_000"), ("12L", "12L"), ("7b", "7b"), ("1e", "1e"), ("007", 7),
        ("2020-01-01", "2020-01-01"),
        ("9" * 5000, "9" * 5000), ("cuda:0", "cuda:0"), ("12:30", "12:30"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2_everywhere(text: str, value: Any) -> None:
    assert cast(text) == value and type(cast(text)) is type(value)
    if len(text) < 100:
        assert parse_text(f"a: {text}", "x.yaml", []).tree == {"a": value}
        assert resolved({"a": "${b:" + text + "}$"})[0] == {"a": value}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text("1e-.+x: ~nulotrue#'\"$"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab-1e:# ", min_size=1), inner),
        max_leaves=8,
    )
)
def test_what_is_written_reads_back_the_same(tree: Any) -> None:
    problems: list[Problem] = []
    found = parse_text(to_yaml({"top": tree}), "x.yaml", problems).tree
    assert problems == [] and found == {"top": tree}
    assert repr(found) == repr({"top": tree})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${n}$", 3), ("${n}", "3"), ("x${n}y", "x3y"), ("${n}${n}", "33"), ("${none}$", None),
        ("${none}", "null"), ("a-${none}", "a-null"), ("a-${yes}", "a-true"),
        ("${block.list}$", [1, "two"]), ("${block.list.1}$", "two"), ("${block}$", {"list": [1, "two"]}),
        ("${other:1e-3}$", 1e-3), ("${other:small}", "small"), ("${other:${n}}$", 3),
        ("${other:${another:64}}$", 64), ("${n:${another:64}}$", 3), ("${other:}$", None),
        ("${other:[1, 2]}", "[1, 2]"), ("a${other:b}c${n}", "abc3"), ("${alias.list.0}$", 1),
        ("$5 {n}", "$5 {n}"), ("${other:a:b}", "a:b"), ("${other:a|b}$", "a|b"),
        ("${text}/${text}", "v3/v3"),
    ],
)  # fmt: skip
def test_references(text: str, value: Any) -> None:
    tree = {
        "n": 3,
        "none": None,
        "yes": True,
        "block": {"list": [1, "two"]},
        "alias": "${block}$",
        "text": "v${n}",
    }
    found, messages = resolved({**tree, "a": text})
    assert messages == []
    assert found["a"] == value and type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("tree", "messages"),
    [
        ({"a": "${b}$"}, ["a: ${b} is not set: give --b, or a default as in ${b:value}$"]),
        ({"a": "${bb}", "bbb": 1}, ["did you mean 'bbb'?"]),
        ({"data": {"keys": 1}, "a": "${data.items}"}, ["a: ${data.items} is not set: write it"]),
        ({"data": {"name": "x"}, "a": "${data.name.upper}$"}, ["${data.name.upper} is not set"]),
        ({"a": "${b}$", "b": "${a}$"}, ["refers to itself in a circle"]),
        ({"a": "${a}"}, ["a: refers to itself in a circle, through ${a}"]),
        ({"a": {"x": "${a}$"}}, ["a: refers to itself in a circle"]),
        (
            {"a": "${b}$", "b": "${a}$", "c": "${d}$", "d": "${c}", "e": "${f}"},
            ["e: ${f}", "circle", "circle"],
        ),
        ({"a": "${b"}, ["a: the brace of a reference is not closed in '${b'"]),
        ({"a": "${}"}, ["a: '${}' is not a reference"]),
        ({"a": "${b c}"}, ["a: '${b c}' is not a reference"]),
        ({"a": "${b|int}$", "b": "3"}, ["is not a reference"]),
        ({"a": "${b..c}"}, ["is not a reference"]),
        ({"a": "x${b}", "b": [1]}, ["a: a block or list cannot be part of a text"]),
        ({"title@${lm:words}": 1, "title@words": 2}, ["is the second key that becomes 'title@words'"]),
        ({"x@${b}": 1, "b": "${c:1}"}, ["a reference in a key must lead to a plain value"]),
    ],
)
def test_references_that_lead_nowhere_are_told_with_their_place(
    tree: dict[str, Any], messages: list[str]
) -> None:
    told = resolved(tree)[1]
    assert len(told) == len(messages)
    for part, message in zip(messages, told, strict=True):
        assert part in message


def test_a_key_may_be_named_like_an_argument_of_refconfig() -> None:
    assert resolved({"t": 3, "self": 4, "a": "${t}$${self}"}) == ({"t": 3, "self": 4, "a": "3$4"}, [])


def test_a_reference_in_a_key_keeps_the_line(tmp_path: Path) -> None:
    write_files(tmp_path)
    path = tmp_path / "data.yaml"
    path.write_text(path.read_text().replace("title@words", "title@${lm:words}"))
    composition = compose(arguments(tmp_path, "--lm", "bert"))
    assert composition.problems == []
    assert list(composition.layers["data"]["fields"]) == ["title@bert", "category"]
    assert composition.origins["data.fields.title@bert.max_length"] == f"{path}:4"


def test_split_tells_typed_from_text() -> None:
    assert split("${a}$")[1] and not split("${a}")[1] and not split("${a}$b")[1] and not split("${a}${b}$")[1]


def test_imports_later_wins_and_own_keys_win_last(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.yaml").write_text("a: {x: 1, y: 1, z: 1}\nlist: [1]\nonly: one\n")
    (tmp_path / "two.yml").write_text("$$import: deep/../deep/one.yaml\na: {y: 2, z: 2}\nlist: [2, 2]\n")
    top = tmp_path / "top.yaml"
    top.write_text("$$import: [deep/one.yaml, two.yml]\na: {z: 3}\n")
    problems: list[Problem] = []
    document = read_document(str(top), problems)
    assert problems == []
    assert document.tree == {"a": {"x": 1, "y": 2, "z": 3}, "list": [2, 2], "only": "one"}
    assert document.origins["a.x"] == f"{tmp_path}/deep/one.yaml:1"
    assert document.origins["a.z"] == f"{top}:2"
    assert document.origins["list.1"] == f"{tmp_path}/two.yml:3"


def test_imports_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("$$import: sub/../b.yaml\n")
    (tmp_path / "b.yaml").write_text("x: 1\n$$import: ./a.yaml\n")
    (tmp_path / "sub").mkdir()
    problems: list[Problem] = []
    document = read_document(str(tmp_path / "a.yaml"), problems)
    assert document.failed and [str(each) for each in problems] == [
        f"{tmp_path}/b.yaml:2  $$import: './a.yaml' imports itself in a circle"
    ]


def test_a_read_only_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    opened: list[str] = []
    plain_open = open
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(str((a, k))) or plain_open(*a, **k))
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert compose(arguments(tmp_path)).problems == []
    assert not any(
        "+" in each.rpartition("(")[2] for each in opened
    )  # root may write anywhere: the mode tells


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lr"], "--lr: needs a value"),
        (["--resume", "--lr", "1"], "--resume: needs a value"),
        (["lr", "3"], "lr: is not a `--key value` pair"),
        (["-lr", "3"], "-lr: is not a `--key value` pair; write `--lr`"),
        (["--", "3"], "--: is not a `--key value` pair"),
        (["--lr", "1", "--lr=2"], "--lr: is given twice"),
        (["--exq.policy.lr", "1"], "--exq.policy.lr: a dotted key is one of --data.*, --embed.*"),
        (["--exp..lr", "1"], "--exp..lr: a dotted key has a name between its dots"),
        (["--exp.name.x", "1"], "--exp.name.x: there is no `x` in `exp.name` to set"),
        (["--exp.metrics.7", "1"], "--exp.metrics.7: there is no `7` in `exp.metrics` to set"),
        (["--exp.metrics", "[gauc"], "is not valid YAML"),
        (["--lr", "!!python/object:os.system {}"], ""),
        (
            ["--lr", "[!!python/name:os.system x]"],
            "the YAML tag 'tag:yaml.org,2002:python/name:os.system' is refused",
        ),
        (["--settings", "x.yaml"], "--settings: cannot go together with --data, --embed, --model, --exp"),
    ],
)
def test_a_command_line_that_is_not_pairs_is_told(tmp_path: Path, argv: list[str], message: str) -> None:
    write_files(tmp_path)
    told = [str(each) for each in compose(arguments(tmp_path, *argv)).problems]
    assert any(message in each for each in told) or not message
    assert all(each.startswith("command line") for each in told)


def test_dotted_keys_replace_single_values(tmp_path: Path) -> None:
    write_files(tmp_path)
    more = [
        "--exp.metrics.0=auc",
        "--exp.policy.lr",
        "1e-5",
        "--data.fields",
        "{year: {}}",
        "--model.name",
        "x",
    ]
    composition = compose(arguments(tmp_path, *more, "--exp.evaluation.batch_size", "-4"))
    assert composition.problems == []
    assert composition.layers["exp"]["metrics"] == ["auc", "ndcg@10"]
    assert composition.layers["exp"]["policy"]["lr"] == 1e-5
    assert composition.layers["exp"]["name"] == "tt-x"
    assert composition.layers["data"]["fields"] == {"year": {}}
    assert composition.layers["exp"]["evaluation"]["batch_size"] == -4
    assert composition.origins["exp.policy.lr"] == "command line --exp.policy.lr"
    assert "data.fields.title@words" not in composition.origins


def test_a_key_that_nothing_reads_is_an_error_unless_accepted(tmp_path: Path) -> None:
    write_files(tmp_path)
    composition = compose(
        arguments(tmp_path, "--llm_ver", "7b", "--lrr", "1", "--exp.policy.lr", "1", "--lr", "2")
    )
    assert composition.did_nothing == ("llm_ver",)
    assert [each.place for each in composition.problems] == ["--lrr", "--lr"]
    assert "nothing reads it" in composition.problems[0].message


def test_a_default_that_is_not_taken_reads_nothing(tmp_path: Path) -> None:
    write_files(tmp_path)
    path = tmp_path / "model.yaml"
    path.write_text(path.read_text().replace("embed_hidden_size:64", "embed_hidden_size:${hidden_size:32}"))
    taken = compose(arguments(tmp_path, "--hidden_size", "16"))
    assert taken.problems == [] and taken.layers["model"]["source"]["embed_dim"] == 16
    assert taken.origins["model.source.embed_dim"].startswith("command line --hidden_size")
    path.write_text(path.read_text().replace("hidden_dim: ${hidden_size:64}$", "hidden_dim: 64"))
    unread = compose(arguments(tmp_path, "--hidden_size", "16", "--embed_hidden_size", "8"))
    assert [each.place for each in unread.problems] == ["--hidden_size"]


@pytest.mark.parametrize(
    "text", ["a: &x [*x]", "[" * 3000, "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )]
)  # fmt: skip
def test_files_that_would_not_end_are_refused(text: str) -> None:
    problems: list[Problem] = []
    document = parse_text(text, "x.yaml", problems)
    assert problems and isinstance(document, Document)
