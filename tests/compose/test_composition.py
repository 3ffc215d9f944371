"""Layers and command line come together as one tree with origins; a key that nothing reads is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.compose import compose
from tests.support.config_files import arguments, write_files


def test_a_right_set_of_files_composes(tmp_path: Path) -> None:
    write_files(tmp_path)
    composition = compose(arguments(tmp_path, "--lr", "1e-4", "--version", "large", "--seed", "7"))
    assert composition.problems == []
    assert composition.layers["data"]["name"] == "MIND-large"
    assert composition.layers["data"]["store"] == "data/MIND-large"
    assert composition.layers["exp"]["name"] == "tt-NRMS"
    assert composition.layers["exp"]["policy"]["lr"] == 1e-4
    assert composition.layers["exp"]["policy"]["item_lr"] is None
    assert composition.flags["seed"] == 7
    origins = composition.origins
    assert origins["exp.policy.lr"] == f"command line --lr ({tmp_path}/parts/policy.yaml:3)"
    assert origins["exp.policy.item_lr"] == f"{tmp_path}/parts/policy.yaml:4 (default of --item_lr)"
    assert origins["exp.mode"] == f"{tmp_path}/exp.yaml:3"
    assert origins["data.store"] == f"{tmp_path}/parts/clicks.yaml:1"
    assert origins["seed"] == "command line --seed" and origins["device"] == "default"


def test_a_reference_in_a_key_keeps_the_line(tmp_path: Path) -> None:
    write_files(tmp_path)
    path = tmp_path / "data.yaml"
    path.write_text(path.read_text().replace("title@words", "title@${lm:words}"))
    composition = compose(arguments(tmp_path, "--lm", "bert"))
    assert composition.problems == []
    assert list(composition.layers["data"]["fields"]) == ["title@bert", "category"]
    assert composition.origins["data.fields.title@bert.max_length"] == f"{path}:4"


def test_a_read_only_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    opened: list[str] = []
    plain_open = open
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(str((a, k))) or plain_open(*a, **k))
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert compose(arguments(tmp_path)).problems == []
    assert not any(
        "+" in each.rpartition("(")[2] for each in opened
    )  # root may write anywhere: the mode tells


def test_a_key_that_nothing_reads_is_an_error_unless_accepted(tmp_path: Path) -> None:
    write_files(tmp_path)
    composition = compose(
        arguments(tmp_path, "--llm_ver", "7b", "--lrr", "1", "--exp.policy.lr", "1", "--lr", "2")
    )
    assert composition.did_nothing == ("llm_ver",)
    assert [each.place for each in composition.problems] == ["--lrr", "--lr"]
    assert "nothing reads it" in composition.problems[0].message


def test_a_default_that_is_not_taken_reads_nothing(tmp_path: Path) -> None:
    write_files(tmp_path)
    path = tmp_path / "model.yaml"
    path.write_text(path.read_text().replace("embed_hidden_size:64", "embed_hidden_size:${hidden_size:32}"))
    taken = compose(arguments(tmp_path, "--hidden_size", "16"))
    assert taken.problems == [] and taken.layers["model"]["source"]["embed_dim"] == 16
    assert taken.origins["model.source.embed_dim"].startswith("command line --hidden_size")
    path.write_text(path.read_text().replace("hidden_dim: ${hidden_size:64}$", "hidden_dim: 64"))
    unread = compose(arguments(tmp_path, "--hidden_size", "16", "--embed_hidden_size", "8"))
    assert [each.place for each in unread.problems] == ["--hidden_size"]
