"""Several data sets in one store: a run on one domain or all, measured on each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from process.join import main as join
from tests.support.launching import one_thread
from tests.support.prompted import SMALL, marked_store
from tests.support.raw_files import made
from tests.support.runs import ROOT, finish, refused

BY_DOMAIN = "{popularity: [], history: [], cold_items: false, cold_users: false, item_fields: [domain]}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    flags = ["--shots", 5]
    for seed, name in enumerate(("movie", "game")):
        marked_store(folder / name, seed, 12, 3)
        flags += ["--store", f"{name}={folder / name}"]
    return made(join, folder / "joined", *flags).path


def command(store: Path, runs: Path, /, **flags: Any) -> list[str]:
    files = {"data": "tallrec-domains", "model": "tallrec-domains-scratch", "exp": "tallrec"}
    given = {layer: f"{ROOT}/config/{layer}/{name}.yaml" for layer, name in files.items()}
    given |= {"data.store": store, "runs": runs, "device": "cpu", "tokenizer": "words", "epoch": 1}
    given |= {**SMALL, "epoch": 1} | flags
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def measured(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())["test"]


def test_a_row_of_the_cross_domain_matrix_is_one_run(store: Path, tmp_path: Path) -> None:
    """Each part of the joint test is what that domain's own test gives."""
    own = {"trained_on": "train-5-movie", "chosen_on": "dev-movie"}
    with one_thread():
        run = finish(command(store, tmp_path / "both", slices=BY_DOMAIN, **own))
        parts = measured(run)["slices"]["domain"]
        assert set(parts) == {"movie", "game"} and sum(each["rows"] for each in parts.values()) == 72
        for name, part in parts.items():
            asked = {"judged_on": f"test-{name}", "exp.mode": "test", "exp.load": run}
            alone = measured(finish(command(store, tmp_path / name, **own, **asked)))
            assert alone["metrics"] == part["metrics"] and alone["rows"] == part["rows"]


def test_slices_are_by_categories(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices = BY_DOMAIN.replace("[domain]", "['name@words']")
    refused(command(store, tmp_path, slices=slices), capsys, "'name@words' is no category but a text")
