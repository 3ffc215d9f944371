"""CALRec from the command line, on purchases in two categories that follow one rule."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import worker
from legorec.data.ragged import Ragged
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from tests.support.launching import one_thread, shared
from tests.support.runs import ROOT, finish, last_state, only_run, refused, run_folders

SIDE, LENGTH = 6, 6  # items of a category are SIDE colours by SIDE shapes; purchases of a user
SEGMENTS = """[{name: user, text: "first "}, {name: bought, history: "{text}", separator: " next "},
 {name: cue, text: " next "}, {name: target, response: "{text} end"}]"""
SMALL = {"hidden_size": 16, "num_layers": 1, "batch_size": 16, "epoch": 1, "lr": 1e-2, "max_length": 64}


def purchases(path: Path, num_users: int, seed: int = 0) -> Path:
    """In each category the next item has the next colour and the shape after next, one time in five any."""
    rng, count = np.random.default_rng(seed), SIDE * SIDE
    colour, shape = np.divmod(np.arange(count), SIDE)
    follows = (colour + 1) % SIDE * SIDE + (shape + 2) % SIDE
    rows = np.empty((num_users, LENGTH), dtype=np.int32)
    rows[:, 0] = rng.integers(0, count, num_users)
    for place in range(1, LENGTH):
        any_item = rng.integers(0, count, num_users)
        rows[:, place] = np.where(rng.random(num_users) < 0.8, follows[rows[:, place - 1]], any_item)
    category = np.arange(num_users) % 2
    items = pl.DataFrame(
        {
            "id": [str(number) for number in range(2 * count)],
            "text": [
                f"colour{c} shape{s} {kind}" for kind in "ab" for c, s in zip(colour, shape, strict=True)
            ],
            "domain": [kind for kind in "ab" for _ in range(count)],
        }
    )
    clicks = Ragged.from_lengths((rows + category[:, None] * count).reshape(-1), np.full(num_users, LENGTH))
    with StoreWriter(path, {"processor": "purchases"}, [TokenizerChoice("words")]) as writer:
        writer.items(items, [Column("text", "text"), Column("domain", "category")])
        writer.users(pl.DataFrame({"id": [str(number) for number in range(num_users)]}))
        writer.sequences(clicks)
        splits = {"train": range(1, LENGTH - 2), "dev": (LENGTH - 2,), "test": (LENGTH - 1,)}
        for split, places in splits.items():
            user, place = (
                each.reshape(-1) for each in np.meshgrid(np.arange(num_users), places, indexing="ij")
            )
            target = rows[user, place] + category[user] * count
            labels = np.zeros((len(user), 1 if split == "train" else 10), dtype=np.uint8)
            labels[:, 0] = 1
            steps = np.array([rng.choice(count - 1, labels.shape[1] - 1, replace=False) for _ in user]) + 1
            others = (rows[user, place][:, None] + steps.reshape(len(user), -1)) % count
            candidates = np.concatenate([target[:, None], others + category[user][:, None] * count], axis=1)
            writer.windows(
                split,
                user,
                np.zeros(len(user), np.int64),
                place,
                Ragged.from_lengths(
                    candidates.reshape(-1).astype(np.int32), np.full(len(user), labels.shape[1])
                ),
                labels.reshape(-1),
            )
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return purchases(tmp_path_factory.mktemp("calrec") / "purchases", 24)


def command(store: Path, runs: Path, exp: str = "calrec", **flags: object) -> list[str]:
    """A run with both stages, or, with ``calrec-tune``, of the second category alone."""
    given = {"model": f"{ROOT}/config/model/calrec-scratch.yaml", "exp": f"{ROOT}/config/exp/{exp}.yaml"}
    if exp != "calrec":
        given["data"] = f"{ROOT}/config/data/calrec-amazon-domain.yaml"
    given |= {
        "data.store": str(store),
        "runs": str(runs),
        "device": "cpu",
        "tokenizer": "words",
        "domain": "b",
    }
    given |= {"model.prompt.segments": SEGMENTS, "exp.baselines": "[random]"}
    given |= {key.replace("__", "."): each for key, each in (SMALL | flags).items()}
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def stages(runs: Path) -> dict[str, Path]:
    """The folders by the name of their experiment."""
    found = {
        yaml.safe_load((each / "settings.yaml").read_text())["exp"]["name"]: each
        for each in run_folders(runs)
    }
    return {name.removeprefix("calrec-"): each for name, each in found.items()}


def epochs(run: Path) -> list[dict[str, float]]:
    with open(run / "epochs.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_both_stages_run_by_one_command_and_the_second_starts_where_the_first_ended(store, tmp_path):
    assert worker.main(command(store, tmp_path)) == 0
    found = stages(tmp_path)
    assert set(found) == {"joint", "category"}
    settings = yaml.safe_load((found["category"] / "settings.yaml").read_text())
    assert settings["model"]["start"] == str(found["joint"])
    assert (
        f"training begins with the weights of {found['joint']}" in (found["category"] / "run.log").read_text()
    )
    assert {"epoch", "loss", "language", "target", "user", "dev_loss"} == set(epochs(found["joint"])[0])
    assert {"mrr", "recall@1"} <= set(
        json.loads((found["category"] / "metrics.json").read_text())["test"]["metrics"]
    )


def test_without_contrasts_there_is_one_term(store, tmp_path):
    run = finish(command(store, tmp_path, "calrec-tune", alpha=0, beta=0))
    assert set(epochs(run)[0]) == {"epoch", "loss", "dev_loss"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"alpha": 0.5, "beta": 0.5}, "`alpha` and `beta` must add up to less than 1"),
        ({"model.prompt.segments": '[{name: user, text: "first"}]'}, "must end with the target"),
        ({"model.prompt.loss_on": "all"}, "`prompt.loss_on` must be answer"),
    ],
)
def test_what_is_refused(store, tmp_path, flags, message, capsys):
    refused(command(store, tmp_path, "calrec-tune", **flags), capsys, message)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", ["null", 2])
def test_two_processes_learn_what_one_does(store, tmp_path, chunk):
    """The last of 36 targets is a batch of its own, of which the first process has none."""
    flags = {"batch_size": 35, "chunk": chunk, "lr": 1e-3}
    with one_thread():
        one = finish(command(store, tmp_path / "one", "calrec-tune", **flags))
    status, out = shared(2, command(store, tmp_path / "two", "calrec-tune", **flags))
    assert status == 0, out
    two = only_run(tmp_path / "two")
    for mine, theirs in zip(epochs(one), epochs(two), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)
    weights = [last_state(run).tensors["weights"] for run in (one, two)]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).abs().max() <= 1e-4, name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_stages_are_above_the_second_alone_and_the_contrasts_below_chance(tmp_path):
    """At equal steps of the second; a uniform guess among 16 targets costs log 16."""
    store = purchases(tmp_path / "purchases", 400)
    flags = {"hidden_size": 32, "num_layers": 2, "lr": 5e-3}
    both = command(store, tmp_path / "both", **flags, **{"stages.joint.epoch": 6, "stages.category.epoch": 2})
    assert worker.main(both) == 0
    alone = finish(command(store, tmp_path / "alone", "calrec-tune", **flags, epoch=2))
    found = stages(tmp_path / "both")
    mrr = [
        json.loads((run / "metrics.json").read_text())["test"]["metrics"]["mrr"]
        for run in (found["category"], alone)
    ]
    print(f"mrr of both stages {mrr[0]:.3f}, of the second alone {mrr[1]:.3f}; {epochs(found['joint'])[-1]}")
    assert mrr[0] > mrr[1] + 0.02
    last = epochs(found["joint"])[-1]
    assert last["target"] < math.log(16) - 0.1 and last["user"] < math.log(16) - 0.1
