"""Instruction data in a store: rows as items and impressions, labels of yes and no, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legorec.data.store import Store
from process.instructions import main
from tests.support.raw_files import candidates, history, made, refusal

ROWS = [
    {"instruction": "Name a colour.", "input": "It begins with b.", "output": "Blue."},
    {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"},
    {"instruction": "Greet me.", "input": "", "output": "Good day to you."},
    {"instruction": "Does she like it?", "input": "A film", "output": "Yes."},
    {"instruction": "Does he like it?", "input": "A film", "output": "No."},
]


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A list, or lines where the name says so."""
    lines = "\n\n".join(json.dumps(row) for row in rows)
    path.write_text(lines if path.suffix == ".jsonl" else json.dumps(rows, indent=1))
    return path


def texts(store: Store, split: str) -> list[dict[str, str]]:
    """The rows of a split, read back from the candidates."""
    found = []
    for row in range(len(store.interactions(split))):
        (item,) = store.interactions(split).candidates[row]
        assert history(store, split, row) == []
        found.append({key: store.items.text(key).take([int(item)])[0] for key in ROWS[0]})
    return found


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_are_items_and_impressions(tmp_path: Path, name: str) -> None:
    store = made(main, tmp_path / "store", "--train", save(tmp_path / name, ROWS))
    assert texts(store, "train") == ROWS and store.splits == ("train",)
    assert store.interactions("train").labels.tolist() == [1, 1, 1, 1, 0]
    assert candidates(store, "train", 4) == {"train-5": 0}
    assert store.manifest["kept"] == {"rows of free text (train)": 3}


def test_a_split_may_have_several_files(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.json", ROWS[:2]), save(tmp_path / "b.jsonl", ROWS[2:])
    store = made(main, tmp_path / "store", "--train", first, "--train", second, "--test", second)
    assert texts(store, "train") == ROWS and texts(store, "test") == ROWS[2:]


def test_a_share_of_train_is_dev_and_the_seed_says_which(tmp_path: Path) -> None:
    rows = [row | {"input": str(number)} for number, row in enumerate(ROWS * 8)]
    file, found = save(tmp_path / "rows.json", rows), []
    for seed in (1, 1, 2):
        how = ("--train", file, "--dev_share", 0.25, "--seed", seed, "--overwrite")
        store = made(main, tmp_path / "store", *how)
        train, dev = texts(store, "train"), texts(store, "dev")
        assert len(dev) == 10 and sorted(int(row["input"]) for row in train + dev) == list(range(40))
        found.append(dev)
    assert found[0] == found[1] != found[2]


def test_other_answers_can_be_labels(tmp_path: Path) -> None:
    file = save(tmp_path / "rows.json", [{**ROWS[0], "output": each} for each in ("like", "dislike")])
    store = made(main, tmp_path / "store", "--train", file, "--answers", "like", "dislike")
    assert store.interactions("train").labels.tolist() == [1, 0]


def test_rows_without_an_output_are_counted(tmp_path: Path) -> None:
    store = made(
        main, tmp_path / "store", "--train", save(tmp_path / "a.json", [*ROWS, {**ROWS[0], "output": " "}])
    )
    assert texts(store, "train") == ROWS
    assert store.manifest["dropped"]["rows"] == {"rows with an empty output (train)": 1}


HELD = "it must hold instruction, input, output"
LACKED = "it must hold the texts instruction, input, output, and lacks input"
WRONG = [
    {"instruction": "Go.", "output": "Gone."},
    {"instruction": "Go.", "input": None, "output": ""},
]


@pytest.mark.parametrize(
    ("name", "place"), [("rows.jsonl", f"line 5: {HELD}"), ("rows.json", f"row 3 of its list: {LACKED}")]
)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_missing_field_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, place: str, wrong: dict[str, Any]
) -> None:
    """Lines are counted with the blank ones between them."""
    file = save(tmp_path / name, [*ROWS[:2], wrong, *ROWS[2:]])
    said = refusal(main, ["--train", file, "--out", tmp_path / "store"], capsys)
    assert f"{file}: {place}" in said and not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dev_share", "0.5", "--dev", "FILE"], "give --dev or --dev_share, not both"),
        (["--dev_share", "1"], "--dev_share must be between 0 and 1, got 1"),
        (["--answers", "Yes.", "Yes."], "--answers must be two different texts"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    file = save(tmp_path / "rows.json", ROWS)
    given = [str(file) if flag == "FILE" else flag for flag in flags]
    assert message in refusal(main, ["--train", file, "--out", tmp_path / "store", *given], capsys)


def test_a_damaged_list_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.json").write_text('[{"instruction": "Go."')
    said = refusal(main, ["--train", tmp_path / "rows.json", "--out", tmp_path / "store"], capsys)
    assert "not a readable JSON list" in said
