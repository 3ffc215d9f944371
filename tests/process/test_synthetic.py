"""Generated data: MIND's shape, planted interests, the same bytes for the same seed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from legorec.data.store import Store
from process import synthetic
from process.synthetic import main, words
from tests.support.raw_files import ROOT, made, refusal
from tests.support.small_store import files


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(main, tmp_path_factory.mktemp("synthetic") / "store", "--items", 3000, "--users", 4000)


def auc(store: Store, scores: np.ndarray) -> float:
    """Mean over impressions of the share of pairs in the right order."""
    table = store.interactions("test")
    found = []
    for start, stop in zip(table.candidates.offsets, table.candidates.offsets[1:], strict=False):
        label, score = table.labels[start:stop] == 1, scores[start:stop]
        above = score[label][:, None] - score[~label]
        found.append(((above > 0) + 0.5 * (above == 0)).mean())
    return float(np.mean(found))


def test_shape_as_mind(store: Store) -> None:
    titles = store.items.field("title@words").rows.lengths
    assert 10.3 < titles.mean() < 11.3 and titles.min() >= 2 and titles.max() <= 24
    train = store.interactions("train")
    _, first = np.unique(train.user, return_index=True)
    history = (store.spans[:, 1] - store.spans[:, 0])[train.span[first]]
    assert 17 < np.median(history) < 23 and 28 < history.mean() < 38 and (history == 0).any()
    shown = np.sort(train.candidates.values.reshape(-1, 20), axis=1)
    assert (shown[:, 1:] > shown[:, :-1]).all(), "no candidate stands twice in an impression"
    assert (train.candidates.lengths == 20).all() and 1 <= train.labels.sum() / len(train) < 1.4
    assert len(train) == 20_000 and len(store.interactions("dev")) == len(store.interactions("test")) == 2000
    times = [store.interactions(split).time for split in ("train", "dev", "test")]
    assert times[0].max() < times[1].min() and times[1].max() < times[2].min()
    clicks = np.sort(np.bincount(store.histories, minlength=3000))[::-1]
    assert clicks[:300].sum() > 0.3 * clicks.sum(), "popularity has a head"


def test_interests_can_be_learnt_from_titles(store: Store) -> None:
    """What the words of a history are about tells more than popularity; rows alone tell nothing."""
    train, test = store.interactions("train"), store.interactions("test")
    popularity = np.bincount(train.candidates.values[train.labels == 1], minlength=len(store.items))
    title = store.items.field("title@words")
    topic = store.items.field("subcategory")
    counts = np.zeros((title.vocab_size, topic.vocab_size))
    np.add.at(counts, (title.rows.values, topic.rows.values[title.rows.rows]), 1)
    of_word = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = np.add.reduceat(of_word[title.rows.values], title.rows.offsets[:-1])
    words /= words.sum(1, keepdims=True)
    profile = np.stack([words[store.histories[start:stop]].sum(0) for start, stop in store.spans[test.span]])
    similar = np.einsum("rd,rd->r", profile[test.candidates.rows], words[test.candidates.values])
    by_popularity = auc(store, popularity[test.candidates.values])
    assert 0.55 < by_popularity < 0.68
    assert auc(store, similar) > by_popularity + 0.05
    assert abs(auc(store, test.candidates.values.astype(float)) - 0.5) < 0.02


def test_r20_the_same_seed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ("--items", 200, "--users", 100, "--impressions", 300, "--candidates", 5)
    one = made(main, tmp_path / "one", *sizes)
    made(main, tmp_path / "two", *sizes)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert made(main, tmp_path / "three", *sizes, "--seed", 5).digest != one.digest
    monkeypatch.setattr(synthetic, "CHUNK", 70)
    store = made(main, tmp_path / "chunks", *sizes)
    assert (
        len(store.interactions("train")) == 300
        and (store.interactions("train").candidates.lengths == 5).all()
    )


def test_any_size(tmp_path: Path) -> None:
    smallest = ("--items", 1, "--users", 1, "--impressions", 1, "--candidates", 1, "--vocabulary", 3)
    assert len(made(main, tmp_path / "one", *smallest).interactions("train")) == 1
    none = made(main, tmp_path / "none", "--items", 20, "--users", 3, "--impressions", 0, "--held_out", 0)
    assert none.splits == () and len(none.items) == 20


def test_wrong_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--items", "--candidates", "--impressions"):
        arguments = [flag, "-1", "--out", tmp_path / "store"]
        assert f"{flag} must be at least" in refusal(main, arguments, capsys)
    arguments = ["--items", "5", "--out", tmp_path / "store"]
    assert "--candidates must be at most --items (5), got 20" in refusal(main, arguments, capsys)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_r4_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [
        sys.executable,
        ROOT / "process" / "synthetic.py",
        "--impressions",
        "30000000",
        "--out",
        tmp_path / "store",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert started.stderr.readline().startswith("drawing train")
        started.send_signal(number)
        assert started.wait(timeout=20) == 128 + number
        assert started.stderr.read() == "stopped; nothing is half-written\n"
    assert not list(tmp_path.iterdir())


def test_r3_a_disk_that_is_full(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    code = (
        "import resource, sys; from legorec.data.raw.command import run; from process.synthetic import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--out", tmp_path / "store"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "could not be written, it needs" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_words_are_different() -> None:
    assert len(set(words(20_000).tolist())) == 20_000
