"""The prompt of any example, printed with its spans."""

from __future__ import annotations

from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import worker
from legorec.recipes.outputs.prompt_text import ShownPrompt, ShownSegment, print_prompt_text
from tests.support.prompted import arguments, marked_store
from tests.support.runs import refused

SEGMENTS = ["preamble", "instruction", "liked", "between", "disliked", "question", "target", "cue", "answer"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("printed") / "store"
    marked_store(path, num_users=6, examples=2)
    return path


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert worker.main(argv) == 0
    return capsys.readouterr().out.splitlines()


def test_segments_tokens_and_what_is_asked_are_printed_in_plain_lines(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(arguments(store, tmp_path, exp="prompt", split="train", example=3), capsys)
    assert "split 'train', example 3: user 1, candidate 0 of 1 is item" in lines[0]
    assert lines[1].split() == ["segment", "place", "tokens", "learned", "clicks", "text"]
    rows = [line.split() for line in lines[2:11]]
    assert [row[0] for row in rows] == SEGMENTS
    places = [tuple(map(int, row[1].split(":"))) for row in rows]
    assert [start for start, _ in places] == [0, *(stop for _, stop in places[:-1])]
    assert [int(row[2]) for row in rows] == [stop - start for start, stop in places]
    assert [int(row[3]) for row in rows] == [0] * 8 + [places[-1][1] - places[-1][0]]
    assert lines[11] == f"{places[-1][1]} tokens of at most 512" and "\x1b" not in "".join(lines)
    assert lines[-1].startswith('asked is "yes" (id ') or lines[-1].startswith('asked is "Yes" (id ')
    assert not list(tmp_path.iterdir()), "nothing is kept"


def test_what_was_cut_is_said(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = partial(arguments, store, tmp_path, exp="prompt", loss_on="all")
    refused(argv(max_length=20), capsys, "`prompt.max_length` must be at least")
    whole = printed(argv(), capsys)
    size = int(whole[11].split()[0])
    rows = {line.split()[0]: line.split() for line in whole[2:11]}
    clicks = sum(int(rows[name][2]) for name in ("liked", "disliked"))
    assert not [line for line in whole if line.startswith("left out")] and clicks
    least = size - clicks + 4 + 6  # the longest candidate may be longer
    lines = printed(argv(max_length=least), capsys)
    left = [line for line in lines if line.startswith("left out for lack of room")]
    assert len(left) == 1 and "learned with loss_on all" in "\n".join(lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"example": 12}, "`exp.prompt.example` must be below the 12 of"),
        ({"candidate": 1}, "`exp.prompt.candidate` must be below the 1 of example 0"),
    ],
)
def test_there_is_no_such_example(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, int], message: str
) -> None:
    refused(arguments(store, tmp_path, exp="prompt", **flags), capsys, message)


def test_on_a_terminal_learned_tokens_are_underlined() -> None:
    segments = [
        ShownSegment("cue", "Answer: ", 0, 2, ["Answer", ":"], [False, False]),
        ShownSegment("answer", "Yes", 2, 3, ["Yes"], [True]),
    ]
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=100)
    print_prompt_text(ShownPrompt("a title", segments, 10, "answer", [("Yes", 3), ("No", 4)]), console)
    text = out.getvalue()
    assert "\x1b[1;4;32mYes" in text and "Answer: " in text and "a title" in text
