"""CALRec's purchases: hold-outs, repeats, categories that share a store, negatives of the same category."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from legorec.data.store import Store
from process.calrec import main
from tests.support.raw_files import candidates, history, made, refusal, shared

Sequences = dict[str, list[list[int]]]
SIZES = {"Books": 12, "Toys": 9}
PURCHASES: Sequences = {
    "Books": [[0, 1, 1, 2, 3], [4, 4], [5, 6], [1, 7, 8, 7]],
    "Toys": [[0, 1, 2], [3, 3, 4], [5, 6, 7, 8]],
}


def text(category: str, item: int) -> str:
    brand = f"Maker {item}" if item % 2 else "Unknown"
    return f"Title: {category} no. {item}. Category: {category}. Brand: {brand}. Price: Unknown."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, users in PURCHASES.items():
        texts = [[text(name, item) for item in user] for user in users]
        lines = (json.dumps({"history": each[:-1], "target": each[-1]}) for each in texts)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{name}.items.txt").write_text("".join(text(name, n) + "\n" for n in range(SIZES[name])))
    return tmp_path


def examples(store: Store, split: str) -> Iterator[tuple[str, list[str], str, list[str]]]:
    """User, history, target and the other candidates of each impression."""
    table = store.interactions(split)
    for row in range(len(table)):
        labels = candidates(store, split, row)
        target = [item for item, label in labels.items() if label]
        assert len(target) == 1
        others = [item for item, label in labels.items() if not label]
        yield store.users.ids.take(table.user[row : row + 1])[0], history(store, split, row), *target, others


def without_repeats(items: list[int]) -> list[int]:
    return [item for place, item in enumerate(items) if not place or item != items[place - 1]]


@pytest.mark.parametrize("drop", [False, True])
def test_the_last_is_test_and_the_one_before_it_dev(folder: Path, drop: bool) -> None:
    flags = ["--drop_repeats"] * drop
    store = made(main, folder / "store", "--source", folder, "--num_negatives", 3, *flags)
    expected: dict[str, dict[str, list[tuple[list[str], str]]]] = {"train": {}, "dev": {}, "test": {}}
    for name, users in PURCHASES.items():
        for number, whole in enumerate(users):
            items = [f"{name}-{item}" for item in (without_repeats(whole) if drop else whole)]
            for place in range(1, len(items)):
                split = {1: "test", 2: "dev"}.get(len(items) - place, "train")
                expected[split].setdefault(f"{name}-{number}", []).append((items[:place], items[place]))
    for split, of_user in expected.items():
        found: dict[str, list[tuple[list[str], str]]] = {}
        for user, before, target, others in examples(store, split):
            found.setdefault(user, []).append((before, target))
            assert len(others) == 3 * (split != "train")
            bought = set(before) | {target}
            assert not bought & set(others), "a negative was bought"
            domains = {item.partition("-")[0] for item in (*bought, *others)}
            assert domains == {user.partition("-")[0]}, "one category alone"
        assert found == of_user
    dropped = store.manifest["dropped"]["rows"].get("purchases of the same item again (--drop_repeats)", 0)
    assert dropped == 3 * drop


def test_targets_of_users_are_dealt_out(folder: Path) -> None:
    flags = ("--split", "users", "--shares", "0.5,0.25,0.25", "--num_negatives", 2, "--drop_repeats")
    store = made(main, folder / "store", "--source", folder, *flags)
    users = [user for split in ("train", "dev", "test") for user, *_ in examples(store, split)]
    assert len(users) == len(set(users)) == 6, "each user with two purchases once; one has a single one left"
    assert [len(store.interactions(split)) for split in ("train", "dev", "test")] == [3, 1, 2]


def test_fields_and_one_category_alone(folder: Path) -> None:
    store = made(main, folder / "store", "--source", folder, "--categories", "Toys", "--num_negatives", 1)
    assert len(store.items) == SIZES["Toys"]
    assert store.vocabulary("domain") == ["Toys"]
    assert len(store.vocabulary("brand")) == SIZES["Toys"] // 2, "Unknown is missing"
    domain = store.users.field("domain")
    assert domain.rows.lengths.tolist() == [1] * len(PURCHASES["Toys"])


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda at: (at / "Toys.items.txt").unlink(), "its items are not"),
        (lambda at: (at / "Toys.jsonl").write_text('{"history": "a", "target": "b"}'), "a list of texts"),
        (lambda at: (at / "Toys.items.txt").write_text("a\na\n"), "twice"),
        (lambda at: (at / "Toys.items.txt").write_text("a\nb\nc\n"), "in no table"),
    ],
)
def test_what_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], break_it: Callable[[Path], object], said: str
) -> None:
    break_it(folder)
    flags = ("--num_negatives", 1)
    message = refusal(main, ["--source", folder, "--out", folder / "store", *flags], capsys)
    assert said in message


def test_an_unknown_category(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--source", folder, "--out", folder / "store", "--categories", "Games"]
    assert "there are Books, Toys" in refusal(main, arguments, capsys)


def test_the_shared_purchases(tmp_path: Path) -> None:
    flags = ("--drop_repeats", "--split", "users")
    store = made(main, tmp_path / "store", "--source", shared("amazon-2023"), *flags)
    assert (len(store.items), len(store.users)) == (2589 + 573, 7207 + 766)
    lengths = store.spans[store.interactions("train").span] @ np.array([-1, 1])
    assert (lengths > 0).all()
