"""The learning-rate finder: its files, its plot, groups of weights, what it refuses and what it leaves."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import worker
from legorec.engine.sweep import CUT
from legorec.processes import ALONE
from legorec.recipes.find_lr import find_lr
from legorec.settings import Settings
from legorec.settings.exp_layer import SweepSettings
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import one_thread, shared
from tests.support.outside_family import digits
from tests.support.outside_program import settings_of
from tests.support.runs import arguments, contents, finish, only_run, refused, run_folders
from tests.support.signalling import SIGNALS, signalled


def sweep_of(runs: Path, **sweep: float) -> Settings:
    """A sweep of the family from outside, of 8 batches an epoch."""
    settings = settings_of(runs, mode="find_lr", lr=1e-3)
    asked = SweepSettings(**{"lowest": 1e-4, "highest": 10.0, "steps": 60} | sweep)  # type: ignore[arg-type]
    object.__setattr__(settings.exp, "sweep", asked)
    return settings


def table(run: Path) -> list[dict[str, float]]:
    with open(run / "sweep.csv") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_it_suggests_a_rate_with_a_plot_and_two_files(tmp_path, capsys):
    """Of a family from outside, over several epochs; two terms with divisors of their own are one loss."""
    result = find_lr(sweep_of(tmp_path), ALONE, digits)["find_lr"]
    run = only_run(tmp_path)
    assert json.loads((run / "metrics.json").read_text())["find_lr"] == result
    rows = table(run)
    assert len(rows) == result["steps"] > 16
    assert rows[0]["lr"] == pytest.approx(1e-4)
    assert all(two["lr"] / one["lr"] == pytest.approx(1e5 ** (1 / 59)) for one, two in pairwise(rows))
    best = min(rows, key=lambda row: row["smoothed"])
    assert result["suggested"]["lr"] == pytest.approx(best["lr"] / CUT, rel=0.05)
    out = capsys.readouterr().out
    # Three epochs are those of the settings; a rate that is named would fall back to 50.
    assert f"suggested: --lr {result['suggested']['lr']:g} --epoch 3" in out.replace("\n", "")
    plotted = [line for line in out.splitlines() if "|" in line[8:9]]
    assert len(plotted) == 16 and all(len(line) <= 80 for line in plotted)
    assert all(line in (run / "run.log").read_text() for line in plotted)


def test_the_loss_of_each_step_is_that_step_s_own(tmp_path, monkeypatch):
    """With rates so low that nothing moves, an epoch's losses come again in the next one."""
    find_lr(sweep_of(tmp_path, lowest=1e-12, highest=1e-11, steps=24), ALONE, digits)
    losses = [row["loss"] for row in table(only_run(tmp_path))]
    assert len(losses) == 24
    assert sorted(losses[:8]) != pytest.approx([losses[0]] * 8, rel=1e-3)
    assert sum(losses[:8]) == pytest.approx(sum(losses[8:16]), rel=0.02)


def test_a_sweep_that_finds_nothing_says_so_and_what_to_change(tmp_path, capsys):
    result = find_lr(sweep_of(tmp_path, lowest=1e-12, highest=1e-11), ALONE, digits)["find_lr"]
    assert result["suggested"] is None
    out = " ".join(capsys.readouterr().out.split())
    assert "no rate is suggested: the loss never fell below its start" in out and "a higher --highest" in out


def test_a_loss_that_is_no_number_ends_the_sweep_and_nothing_else(tmp_path):
    result = find_lr(sweep_of(tmp_path, highest=1e30, steps=40), ALONE, digits)["find_lr"]
    assert result["diverged"] and result["steps"] < 40


def test_pretrained_weights_keep_their_ratio(tmp_path, monkeypatch, capsys):
    """The table of the family is taken for pretrained; both rates are in the file, and suggested."""
    seen: list[tuple[float, ...]] = []
    step = torch.optim.AdamW.step

    def noted(self, *given):
        seen.append(tuple(group["lr"] for group in self.param_groups))
        return step(self, *given)

    def tuned(settings, device, processes):
        task = digits(settings, device, processes)
        task.model.table.pretrained = True
        return task

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    settings = sweep_of(tmp_path)
    policy = settings.exp.policy.model_copy(update={"item_lr": 5e-5})
    object.__setattr__(settings.exp, "policy", policy)
    result = find_lr(settings, ALONE, tuned)["find_lr"]
    assert result["ratios"] == {"lr": 1.0, "item_lr": pytest.approx(0.05)}
    rows = table(only_run(tmp_path))
    assert [(row["lr"], row["item_lr"]) for row in rows] == [
        pytest.approx(each) for each in seen[: len(rows)]
    ]
    assert all(two / one == pytest.approx(0.05) for one, two in seen)
    rates = result["suggested"]
    assert rates["item_lr"] == pytest.approx(0.05 * rates["lr"], rel=0.1)
    out = " ".join(capsys.readouterr().out.split())
    assert (
        f"--lr {rates['lr']:g} --item_lr {rates['item_lr']:g}" in out and "item_lr was 0.05 times lr" in out
    )


def test_a_part_with_a_rate_of_its_own_keeps_its_ratio(tmp_path, monkeypatch, capsys):
    def parted(settings, device, processes):
        task = digits(settings, device, processes)
        task.model.sum.learning_rate = 3e-3
        return task

    seen, step = [], torch.optim.AdamW.step

    def noted(self, *given):
        seen.append(sorted(group["lr"] for group in self.param_groups))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    result = find_lr(sweep_of(tmp_path, steps=30), ALONE, parted)["find_lr"]
    assert result["ratios"] == {"lr": 1.0} and result["ratios_of_parts"] == [pytest.approx(3.0)]
    assert len(seen) >= 16 and all(high / low == pytest.approx(3.0) for low, high in seen)
    out = " ".join(capsys.readouterr().out.split())
    assert "parts with a rate of their own: 3 times lr at each step" in out


def test_a_sweep_leaves_its_own_folder_and_no_trace_in_other_runs(store, tmp_path):
    argv = arguments(store, tmp_path / "one", epoch=1)
    with one_thread():
        finish(argv)
        before = contents(tmp_path / "one")
        flags = {key: 16 for key in ("batch_size", "hidden_size", "embed_hidden_size")}
        sweep = arguments(store, tmp_path / "one", exp="lr", steps=20, **flags)
        assert worker.main(sweep) == 0
        runs = run_folders(tmp_path / "one")
        assert len(runs) == 2
        (swept,) = (run for run in runs if "-lr-seed" in run.name)
        after = contents(tmp_path / "one")
        own = {name for name in after if Path(tmp_path / "one" / name).is_relative_to(swept)}
        assert {name: after[name] for name in after.keys() - own} == before
        assert {Path(name).name for name in own} == {
            "settings.yaml", "run.log", ".lock", "metrics.json", "sweep.csv"
        }  # fmt: skip
        again = finish(arguments(store, tmp_path / "two", epoch=1))
    assert (again / "epochs.csv").read_bytes() in before.values()


def test_what_cannot_be_swept_is_refused(store, tmp_path, capsys):
    argv = arguments(store, tmp_path, exp="lr", steps=20)
    refused([*argv, "--resume", "true"], capsys, "a sweep takes seconds and is begun anew", "--resume true")
    assert not run_folders(tmp_path)
    refused(
        arguments(store, tmp_path, exp="lr", lowest=1.0), capsys, "`lowest` must be below `highest`, got 1"
    )
    refused(arguments(store, tmp_path, exp="lr", steps=5), capsys, "exp.sweep.steps", "at least 20, got 5")
    assert worker.main(argv) == 0
    refused(argv, capsys, "is finished", "--overwrite true")


@pytest.mark.parametrize("number", SIGNALS)
def test_r4_a_stopped_sweep_begins_anew(store, tmp_path, monkeypatch, capfd, number):
    argv = arguments(store, tmp_path, exp="lr", steps=20)
    with monkeypatch.context() as patch:
        signalled(patch, torch.optim.AdamW, "step", number, 5)
        assert worker.main(argv) == 128 + number
    assert capfd.readouterr().err.splitlines()[-1] == "stopped; go on with the same command"
    assert {path.name for path in only_run(tmp_path).iterdir()} == {"run.log", "settings.yaml", ".lock"}
    assert worker.main(argv) == 0
    assert len(table(only_run(tmp_path))) <= 20


@pytest.mark.slow
def test_two_processes_sweep_as_one(store, tmp_path):
    with one_thread():
        one = finish(arguments(store, tmp_path / "one", exp="lr", steps=30, highest=1e-2))
    status, out = shared(2, arguments(store, tmp_path / "two", exp="lr", steps=30, highest=1e-2))
    assert status == 0, out
    two = only_run(tmp_path / "two")
    for mine, its in zip(table(one), table(two), strict=True):
        assert mine == pytest.approx(its, rel=1e-4)
    assert out.count("wrote ") == 1


@pytest.mark.slow
def test_a_language_model_is_swept_with_its_two_rates(tmp_path):
    """LoRA over a tiny model whose cached states are read and not changed."""
    model = write_language_model(tmp_path / "llama", "llama").folder
    store = write_language_store(tmp_path / "store", llama=model)
    flags = {"layer": 0, "cache": "null", "lr": 1e-3, "item_lr": 1e-4, "steps": 20}
    before = contents(model)
    run = finish(
        language_arguments(store, model, tmp_path / "c", tmp_path / "r", "llama-naml", "lr", **flags)
    )
    found = json.loads((run / "metrics.json").read_text())["find_lr"]
    assert found["ratios"] == {"lr": 1.0, "item_lr": pytest.approx(0.1)} and contents(model) == before
