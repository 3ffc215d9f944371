"""Steam's hours as likes and dislikes, held against the rules read out one by one."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest

from legorec.data.store import Store
from process.steam import main
from tests.support.raw_files import candidates, history, made, refusal, shared

GAMES = {str(number): f"Game {number}" for number in range(1, 31)}


def write_steam(folder: Path, num_users: int = 60, seed: int = 0) -> dict[str, dict[str, float]]:
    """Hours by user and game: 1 to 20 games of a user, one pair in two lines."""
    rng, played = np.random.default_rng(seed), {}
    for user in range(1, num_users + 1):
        games = rng.choice(list(GAMES), int(rng.integers(1, 21)), replace=False)
        played[str(user)] = {str(game): float(rng.integers(1, 300)) / 10 for game in games}
    lines = [f"{user}\t{game}\t{hours}" for user, each in played.items() for game, hours in each.items()]
    first = next(iter(played["1"]))
    lines.append(f"1\t{first}\t2.5")
    played["1"][first] += 2.5
    folder.mkdir()
    (folder / "game_play.dat").write_text("\n".join(["User_ID\tGame_ID\tHours", *lines]) + "\n")
    items = [f"{game}\t{name}" for game, name in GAMES.items()]
    (folder / "item_info.dat").write_text("\n".join(["Game_ID\tGame Name", *items]) + "\n")
    return played


def asked(store: Store, split: str) -> dict[str, list[tuple[list[str], list[int], str, int]]]:
    """The examples of each user, latest first: games before, their marks, the candidate, the label."""
    found: dict[str, list[tuple[list[str], list[int], str, int]]] = {}
    table = store.interactions(split)
    for row in range(len(table)):
        ((item, label),) = candidates(store, split, row).items()
        marks = store.marks[slice(*store.spans[table.span[row]])].tolist()
        user = store.users.ids[int(table.user[row])]
        found.setdefault(user, []).append((history(store, split, row), marks, item, label))
    return found


def test_examples_follow_the_rules(tmp_path: Path) -> None:
    played = write_steam(tmp_path / "steam")
    store = made(main, tmp_path / "store", "--source", tmp_path / "steam", "--shares", "0.6,0.2,0.2")
    users = [user for split in store.splits for user in asked(store, split)]
    assert sorted(users) == sorted(user for user, games in played.items() if len(games) > 3)
    assert len(users) == len(set(users)) and len(store.splits) == 3
    for split in store.splits:
        for user, examples in asked(store, split).items():
            mine = played[user]
            half = median(mine.values())
            assert len(examples) == min(5, len(mine) - 3)
            for back, (before, marks, item, label) in enumerate(examples):
                assert len(before) == min(10, len(mine) - 1 - back) and item not in before
                assert marks == [int(mine[game] > half) for game in before]
                assert label == int(mine[item] > half)
                if back:
                    assert examples[back - 1][0][-1] == item, "the game before the last is asked for next"


def test_the_seed_draws_order_and_users(tmp_path: Path) -> None:
    write_steam(tmp_path / "steam")
    found = []
    for number, seed in enumerate((1, 1, 2)):
        store = made(main, tmp_path / str(number), "--source", tmp_path / "steam", "--seed", seed)
        found.append(asked(store, "train"))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t99\t3.0", "game '99' is not in item_info.dat"),
        ("1\t2\tlong", "hours must be a number, got 'long'"),
    ],
)
def test_what_is_malformed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    write_steam(tmp_path / "steam")
    with open(tmp_path / "steam" / "game_play.dat", "a") as file:
        file.write(f"{line}\n")
    said = refusal(main, ["--source", tmp_path / "steam", "--out", tmp_path / "store"], capsys)
    assert message in said


def test_the_real_games(tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--source", shared("steam"))
    counts = {split: len(store.interactions(split)) for split in store.splits}
    assert counts["train"] > 8000 and min(counts["dev"], counts["test"]) > 900
    share = store.interactions("train").labels.mean()
    assert 0.4 < share < 0.5, "what is as long as the median is no like"
