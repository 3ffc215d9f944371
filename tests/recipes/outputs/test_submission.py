"""A submission is scored by the leaderboard's rules as our own metrics score the ranking behind it (R22)."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.batch import Ranking
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions, Store
from legorec.data.strings import Strings
from legorec.data.writing.writer import StoreWriter
from legorec.metrics import evaluate
from legorec.recipes.load import load
from legorec.recipes.outputs import submission
from legorec.recipes.outputs.submission import (
    candidate_ranks,
    check_submission,
    lines,
    num_bytes,
    write_submission,
)
from process import synthetic
from tests.support.ranking import rank
from tests.support.runs import arguments, finish, refused, run_folders, write_store

NAMES = {"gauc": "auc", "mrr": "mrr", "ndcg@5": "ndcg5", "ndcg@10": "ndcg10"}  # ours, the leaderboard's


def official(archive: Path, truth: list[tuple[str, list[int]]]) -> dict[str, float]:
    """The leaderboard's rules, read anew: line by line with the truth, a score of 1 / rank, means over lines.

    An impression whose labels are hidden has none and is passed over.
    """
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == ["prediction.txt"] and opened.testzip() is None
        text = opened.read("prediction.txt").decode("ascii")
    assert text.endswith("\n") and len(text.splitlines()) == len(truth)
    found: list[tuple[float, float, float, float]] = []
    for (wanted, labels), line in zip(truth, text.splitlines(), strict=True):
        if not labels:
            continue
        name, listed = line.split()
        ranks = json.loads(listed)
        assert name == wanted and sorted(ranks) == list(range(1, len(labels) + 1))
        score = [1 / each for each in ranks]
        clicked = [mine for mine, label in zip(score, labels, strict=True) if label]
        others = [mine for mine, label in zip(score, labels, strict=True) if not label]
        wins = sum((mine > other) + 0.5 * (mine == other) for mine in clicked for other in others)
        in_order = [label for _, label in sorted(zip(score, labels, strict=True), reverse=True)]
        found.append(
            (
                wins / (len(clicked) * len(others)),
                sum(label / place for place, label in enumerate(in_order, 1)) / sum(in_order),
                gain(in_order, 5) / gain(sorted(labels, reverse=True), 5),
                gain(in_order, 10) / gain(sorted(labels, reverse=True), 10),
            )
        )
    means = [sum(column) / len(found) for column in zip(*found, strict=True)]
    return dict(zip(("auc", "mrr", "ndcg5", "ndcg10"), means, strict=True))


def gain(labels: list[int], k: int) -> float:
    return sum((2**label - 1) / math.log2(place + 1) for place, label in enumerate(labels[:k], 1))


def shown_of(sizes: Any, ids: list[str] | None) -> Interactions:
    """Impressions of so many candidates."""
    candidates = Ragged.from_lengths(np.arange(sum(sizes), dtype=np.int32), sizes)
    nothing = np.zeros(len(sizes), dtype=np.int32)
    strings = None if ids is None else Strings.pack(pl.Series(ids))
    return Interactions(nothing, nothing, candidates, np.zeros(sum(sizes), np.uint8), strings, None, False)


def test_r22_the_leaderboard_finds_our_own_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 120, 300)
    ids = (rng.permutation(300) + 1).tolist()
    shown = shown_of(sizes, [str(each) for each in ids])
    labels = [np.arange(size) < rng.integers(1, size) for size in sizes]
    for each in labels:
        rng.shuffle(each)
    label, score = np.concatenate(labels), rng.permutation(int(sizes.sum())).astype(np.float32)
    write_submission(tmp_path, shown, candidate_ranks(shown.candidates, score))
    truth = sorted((number, each.astype(int).tolist()) for number, each in zip(ids, labels, strict=True))
    theirs = official(tmp_path / "prediction.zip", [(str(number), each) for number, each in truth])
    ours = evaluate(Ranking(np.repeat(np.arange(300), sizes), label, score))
    assert {NAMES[name]: value for name, value in ours.items()} == pytest.approx(theirs, abs=1e-12)


def test_a_line_by_hand_and_ties_as_they_stand() -> None:
    shown = shown_of([3, 1, 11], ["10", "9", "2"])
    score = np.array([0.5, 2.0, 0.5, -1.0, *[0.0] * 10, 1.0], dtype=np.float32)
    ranks = candidate_ranks(shown.candidates, score)
    text = "".join(lines(shown, ranks))
    assert text == "2 [2,3,4,5,6,7,8,9,10,11,1]\n9 [1]\n10 [2,1,3]\n"
    assert num_bytes(shown, ranks) == len(text)


def test_lines_are_in_the_order_of_numbers_else_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "BLOCK", 2)
    for ids, expected in (
        (None, ["1", "2", "3"]),
        (["30", "4", "100"], ["4", "30", "100"]),
        (["b", "4", "a"], ["b", "4", "a"]),
    ):
        shown = shown_of([1, 1, 1], ids)
        text = "".join(lines(shown, np.ones(3, dtype=np.uint32)))
        assert [line.split()[0] for line in text.splitlines()] == expected


def test_the_same_ranks_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, written = shown_of([4, 9], None), []
    for when in (0.0, 2e9):
        monkeypatch.setattr("time.time", lambda now=when: now)
        write_submission(tmp_path, shown, shown.candidates.places + 1)
        written.append((tmp_path / "prediction.zip").read_bytes())
    assert written[0] == written[1]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose impressions have numbers, not in order, as raw ids."""
    return write_numbered(tmp_path_factory.mktemp("numbered") / "store")


def write_numbered(path: Path, labelled: bool = True, ids: list[str] | None = None, lost: str = "") -> Path:
    real = StoreWriter.impressions

    def with_ids(writer: StoreWriter, split: str, frame: pl.DataFrame) -> None:
        given = ids or [str(each) for each in np.random.default_rng(5).permutation(len(frame)) + 1]
        named = frame.with_columns(id=pl.Series((given * len(frame))[: len(frame)]))
        if lost and split == "test":
            first = pl.int_range(pl.len()) == 0
            shown = pl.col("candidates").list.eval(pl.element().replace(pl.element().first(), "gone"))
            if lost == "candidate":
                named = named.with_columns(candidates=pl.when(first).then(shown).otherwise("candidates"))
            else:
                gone = pl.col("candidates").list.eval(pl.lit("gone") + pl.element())
                named = named.with_columns(candidates=pl.when(first).then(gone).otherwise("candidates"))
        writer.missing.max_missing = 0.9
        real(writer, split, named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StoreWriter, "impressions", with_ids)
        return write_store(path, labelled=labelled)


def test_r22_a_run_writes_what_its_ranking_says(numbered: Path, tmp_path: Path) -> None:
    """Impressions with a tie are hidden from the leaderboard and from our metrics, which part over them."""
    trained = finish(arguments(numbered, tmp_path / "trained"))
    run = finish(arguments(numbered, tmp_path / "runs", exp="submit-mind", load=trained))
    assert {path.name for path in run.iterdir()} == {
        "prediction.txt", "prediction.zip", "metrics.json", "run.log", "settings.yaml", ".lock",
    }  # fmt: skip
    recommender = load(trained, device="cpu")
    impressions = recommender.data.impressions("test")
    shown, ranking = impressions.interactions, rank(recommender.model, impressions)
    assert shown.ids is not None
    rows = [np.flatnonzero(ranking.group == number) for number in range(len(shown))]
    untied = [len(set(ranking.score[row].tolist())) == len(row) for row in rows]
    assert sum(untied) > 15
    truth = [
        (int(name), ranking.label[row].tolist() if alone else [])
        for name, row, alone in zip(shown.ids, rows, untied, strict=True)
    ]
    theirs = official(run / "prediction.zip", [(str(number), each) for number, each in sorted(truth)])
    kept = np.concatenate([row for row, alone in zip(rows, untied, strict=True) if alone])
    ours = evaluate(Ranking(ranking.group[kept], ranking.label[kept], ranking.score[kept]))
    assert {NAMES[name]: value for name, value in ours.items()} == pytest.approx(theirs, abs=1e-9)


def test_a_split_without_labels_is_ranked(tmp_path: Path) -> None:
    store = write_numbered(tmp_path / "store", labelled=False)
    trained = finish(arguments(store, tmp_path / "trained", exp="train", epoch=1))
    run = finish(arguments(store, tmp_path / "runs", exp="submit-mind", load=trained))
    shown = Store.open(store).interactions("test")
    assert not shown.labelled and shown.ids is not None
    expected = dict(zip(shown.ids, shown.candidates.lengths.tolist(), strict=True))
    found = [line.split() for line in (run / "prediction.txt").read_text().splitlines()]
    assert [name for name, _ in found] == [str(number) for number in range(1, len(shown) + 1)]
    assert all(sorted(json.loads(ranks)) == list(range(1, expected[name] + 1)) for name, ranks in found)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"lost": "candidate"}, "item ids in candidates: 1); process the data again"),
        ({"lost": "impression"}, "impressions without known candidates (test): 1)"),
        ({"ids": ["7", "8", "7"]}, "24 of 24 are not such, e.g. '7'"),
        ({"ids": [f"{each} x" for each in range(24)]}, "24 of 24 are not such, e.g. '0 x'"),
    ],
)
def test_a_split_that_cannot_be_submitted_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: dict[str, Any], message: str
) -> None:
    store = write_numbered(tmp_path / "store", **how)
    argv = arguments(store, tmp_path / "runs", exp="submit-mind", load=tmp_path)
    refused(argv, capsys, "split 'test': a submission", message)
    assert not run_folders(tmp_path / "runs")


def test_a_store_of_other_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ["--items", "60", "--users", "20", "--impressions", "40", "--out", str(tmp_path / "store")]
    synthetic.main(made)
    with pytest.raises(
        ValueError, match="for the leaderboard of MIND, and this store was made by the proc.*synthetic"
    ):
        check_submission(Store.open(tmp_path / "store"), "test")
