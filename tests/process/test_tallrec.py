"""TALLRec's movie task: the published files byte for byte, and a store of the same examples."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legorec.data.store import Store
from process.tallrec import SIZES, main
from tests.process.test_movielens import write_100k
from tests.support.raw_files import candidates, history, made, refusal, shared

BLOBS = {
    "train": "2bbe93bffecd30423606a6d8e78d22c9a6c5f64f",
    "valid": "d26599315557a9587cd74d83c1c565670361d215",
    "test": "ee8bb62c56a82d6f176b07d094cc39e8a13878bc",
}
FILES = {"train": "train", "dev": "valid", "test": "test"}
MOVIES = [(str(number), f'Film "{number}"' if number % 9 else "Señor, El", "1994") for number in range(1, 61)]
NAMES = {key: f"{title} ({year})" for key, title, year in MOVIES}


def ratings(num_users: int = 180, each: int = 70, seed: int = 0) -> list[tuple[str, str, int, int]]:
    """Users' lines mixed with each other; times tie, and have 2 or 3 digits."""
    rng = np.random.default_rng(seed)
    users = rng.permutation(np.repeat(np.arange(num_users), each))
    return [
        (str(user + 1), str(rng.integers(1, 61)), int(rng.integers(1, 6)), int(rng.integers(90, 120)))
        for user in users
    ]


def spelled(lines: list[tuple[str, str, int, int]]) -> list[dict[str, str]]:
    """The examples as the published files were made, one by one."""
    of_user: dict[str, list[tuple[str, str, int, int]]] = {}
    for line in lines:
        of_user.setdefault(line[0], []).append(line)
    found = []
    for mine in of_user.values():
        mine.sort(key=lambda line: str(line[3]))
        for place in range(10, len(mine)):
            sides: dict[bool, list[str]] = {True: [], False: []}
            for _, item, rating, _ in mine[place - 10 : place]:
                sides[rating > 3].append(f'"{NAMES[item]}"')
            _, item, rating, _ = mine[place]
            text = (
                f"User Preference: {', '.join(sides[True])}\nUser Unpreference: {', '.join(sides[False])}\n"
            )
            text += f'Whether the user will like the target movie "{NAMES[item]}"?'
            found.append({"input": text, "output": "Yes." if rating > 3 else "No."})
    return found[-10_000:]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """The store, and the rows of each file."""
    folder = tmp_path_factory.mktemp("tallrec")
    source = write_100k(folder / "ml-100k", ratings(), MOVIES)
    store = made(main, folder / "store", "--source", source, "--json", folder / "json")
    rows = {split: json.loads((folder / "json" / f"{FILES[split]}.json").read_text()) for split in SIZES}
    return store, rows


def test_the_rows_are_those_of_the_rules(both: tuple[Store, dict[str, Any]]) -> None:
    _, rows = both
    assert {split: len(each) for split, each in rows.items()} == SIZES
    found = [row for split in SIZES for row in rows[split]]
    assert [{key: row[key] for key in ("input", "output")} for row in found] == spelled(ratings())


def test_the_store_holds_the_same_examples(both: tuple[Store, dict[str, Any]]) -> None:
    store, rows = both
    for split, each in rows.items():
        span = store.spans[store.interactions(split).span]
        assert (span[:, 1] - span[:, 0] == 10).all() and len(span) == len(each)
        for row in range(0, len(each), 97):
            marks = store.marks[slice(*span[row])]
            shown = [f'"{NAMES[item]}"' for item in history(store, split, row)]
            liked, disliked = (
                ", ".join(text for text, mark in zip(shown, marks, strict=True) if mark == wanted)
                for wanted in (1, 0)
            )
            ((item, label),) = candidates(store, split, row).items()
            assert each[row]["input"].startswith(f"User Preference: {liked}\nUser Unpreference: {disliked}\n")
            assert each[row]["input"].endswith(f'"{NAMES[item]}"?')
            assert each[row]["output"] == ("Yes." if label else "No.")
    assert store.mark_names == ("disliked", "liked")


def test_shuffled_labels_change_places_and_nothing_else(
    both: tuple[Store, dict[str, Any]], tmp_path: Path
) -> None:
    store, rows = both
    source, files = write_100k(tmp_path / "ml-100k", ratings(), MOVIES), tmp_path / "json"
    how = ("--source", source, "--json", files, "--shuffle_labels", 1)
    shuffled = made(main, tmp_path / "store", *how)
    for split in SIZES:
        mine, theirs = shuffled.interactions(split), store.interactions(split)
        assert (mine.labels == theirs.labels).all() == (split == "test")
        assert mine.labels.sum() == theirs.labels.sum()
        assert mine.candidates == theirs.candidates and (mine.span == theirs.span).all()
        told = json.loads((files / f"{FILES[split]}.json").read_text())
        assert [row["input"] for row in told] == [row["input"] for row in rows[split]]
        assert [row["output"] == "Yes." for row in told] == mine.labels.astype(bool).tolist()
    assert (shuffled.marks == store.marks).all() and shuffled.manifest["made_with"]["shuffle_labels"] == 1


def test_the_published_files_byte_for_byte(tmp_path: Path) -> None:
    made(main, tmp_path / "store", "--source", shared("ml-100k"), "--json", tmp_path / "json")
    for name, blob in BLOBS.items():
        argv = ["git", "hash-object", str(tmp_path / "json" / f"{name}.json")]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == blob


def test_too_few_examples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_100k(tmp_path / "ml-100k", ratings(num_users=3), MOVIES)
    said = refusal(main, ["--source", source, "--out", tmp_path / "store"], capsys)
    assert "there are 180 examples, 10,000 are needed: is this MovieLens-100K?" in said


def test_a_movie_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_100k(tmp_path / "ml-100k", ratings(num_users=3), MOVIES[:40])
    said = refusal(main, ["--source", source, "--out", tmp_path / "store"], capsys)
    assert "is not in" in said and "u.item" in said
