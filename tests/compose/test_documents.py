"""Files, and the files that they import, as one tree whose values know their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.compose.documents import Document, parse_text, read_document
from legorec.compose.problems import Problem


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


@pytest.mark.parametrize(
    "text", ["a: &x [*x]", "[" * 3000, "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )]
)  # fmt: skip
def test_files_that_would_not_end_are_refused(text: str) -> None:
    problems: list[Problem] = []
    document = parse_text(text, "x.yaml", problems)
    assert problems and isinstance(document, Document)
