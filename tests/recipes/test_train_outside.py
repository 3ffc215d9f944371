"""A family of models from outside trains, resumes, ranks and reports through the one recipe."""

import ast
import csv
import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from legorec.batch import Loss, Term
from legorec.engine import checkpoint
from legorec.engine.run_folder import best_checkpoint, kept_epochs
from legorec.processes import ALONE
from legorec.recipes.train import train
from tests.support import outside_family
from tests.support.launching import TORCHRUN, launched, one_thread
from tests.support.outside_family import ROWS, DigitModel, DigitObjective, digits
from tests.support.outside_program import settings_of
from tests.support.runs import ROOT, differences, only_run

PROGRAM = ["-m", "tests.support.outside_program"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that was left alone."""
    runs = tmp_path_factory.mktemp("runs")
    with one_thread():
        train(settings_of(runs), ALONE, digits)
    return only_run(runs)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(best_checkpoint(run)).tensors["weights"])


def epochs(run: Path) -> list[dict[str, str]]:
    with open(run / "epochs.csv") as file:
        return list(csv.DictReader(file))


def test_it_is_short_and_nothing_in_the_library_names_it():
    text = Path(outside_family.__file__).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 80
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    library = [path.read_text() for path in (ROOT / "legorec").rglob("*.py")]
    assert len(names) > 4 and len(library) > 100
    assert not any(name in each for each in library for name in (*names, "outside_family"))


def test_it_learns_and_lands_in_metrics_json_and_in_the_table(straight, tmp_path, capsys):
    metrics = json.loads((straight / "metrics.json").read_text())
    assert metrics["test"]["metrics"]["gauc"] > 0.8 and metrics["test"]["group_by"] == "ten"
    settings = settings_of(tmp_path, mode="test", load=str(straight))
    assert train(settings, ALONE, digits)["test"] == metrics["test"]
    assert f"Digits │ {metrics['test']['metrics']['gauc']:.4f}" in capsys.readouterr().out


def test_an_epoch_that_a_family_does_not_load_is_refused(tmp_path):
    train(settings_of(tmp_path / "runs", keep_epochs=2), ALONE, digits)
    run = only_run(tmp_path / "runs")
    best, kept = kept_epochs(run)
    asked = settings_of(tmp_path / "again", mode="test", load=str(run))

    def measured(epoch: int) -> None:
        exp = asked.exp.model_copy(update={"load_epoch": epoch})
        train(replace(asked, exp=exp, runs=str(tmp_path / f"of-{epoch}")), ALONE, digits)

    measured(best)
    for epoch in kept.keys() - {best}:
        with pytest.raises(
            ValueError, match=f"'digits' is loaded from the best epoch alone.*is epoch {epoch}"
        ):
            measured(epoch)


def test_what_cannot_be_trained_is_refused_before_the_folder_is_made(tmp_path, monkeypatch):
    def refuse(self):
        raise ValueError("not in this way")

    monkeypatch.setattr(DigitModel, "check_training", refuse, raising=False)
    with pytest.raises(ValueError, match="not in this way"):
        train(settings_of(tmp_path / "runs"), ALONE, digits)
    assert not (tmp_path / "runs").exists()


def test_named_losses_stand_in_the_table_of_epochs_and_in_the_log(straight):
    rows = epochs(straight)
    assert list(rows[0]) == ["epoch", "loss", "square", "word", "gauc", "ndcg@5"]
    for row in rows:
        whole = float(row["word"]) + 0.1 * float(row["square"])
        assert float(row["loss"]) == pytest.approx(whole, rel=1e-6)
    log = (straight / "run.log").read_text()
    assert all(f"square {float(row['square']):.4f}  word {float(row['word']):.4f}" in log for row in rows)


def test_each_term_is_divided_by_its_own_count(straight):
    """The first epoch's terms of a model that does not move are means over the tokens, and over the rows."""
    model = DigitModel(4)
    batch = outside_family.DigitBatch(torch.from_numpy(ROWS[:60]), torch.arange(60), 0)
    with torch.no_grad():
        loss, counts = DigitObjective()(model, batch), DigitObjective().counts(batch)
        words, sums = model(batch.tokens)
    assert counts["rows"] == 60 and counts["tokens"] == int((ROWS[:60, 1:] > 0).sum())
    kept = batch.tokens[:, 1:] > 0
    by_hand = -words.log_softmax(2).gather(2, batch.tokens[:, 1:, None]).squeeze(2)[kept].mean()
    assert float(loss.terms["word"].total / counts["tokens"]) == pytest.approx(float(by_hand), rel=1e-5)
    square = ((sums - batch.tokens.sum(1)) ** 2).mean()
    assert float(loss.totals()["rows"] / counts["rows"]) == pytest.approx(0.1 * float(square), rel=1e-5)
    with pytest.raises(ValueError, match="divided by tokens, rows"):
        loss.total  # noqa: B018


def test_terms_with_one_divisor_are_added_before_they_are_divided():
    one, other = torch.tensor(1e8), torch.tensor(1.0)
    loss = Loss({"a": Term(one), "b": Term(other, weight=4.0)})
    assert loss.totals() == {"examples": one + 4 * other} and loss.total == one + 4 * other


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 8, 13])
def test_r1_killed_and_resumed_equals_straight(straight, tmp_path, step):
    """In the middle of an epoch, at its end, and between two checkpoints."""
    command = [sys.executable, *PROGRAM, str(tmp_path), "--kill_after", str(step)]
    with one_thread():
        killed = subprocess.run(command, cwd=ROOT, capture_output=True, env={"OMP_NUM_THREADS": "1"})
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        train(settings_of(tmp_path, resume=True), ALONE, digits)
    assert differences(straight, only_run(tmp_path)) == []


def test_accumulated_halves_take_the_steps_of_the_whole(tmp_path):
    found = []
    for size, accumulate in ((10, 1), (5, 2)):
        runs = tmp_path / str(size)
        train(settings_of(runs, batch_size=size, acc_batch=accumulate, epoch=1), ALONE, digits)
        found.append((weights(only_run(runs)), epochs(only_run(runs))[-1]))
    (one, its), (other, others) = found
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)
    for term in ("loss", "word", "square"):
        assert math.isclose(float(its[term]), float(others[term]), rel_tol=1e-5)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(straight, tmp_path):
    process = launched([*TORCHRUN, "2", *PROGRAM, str(tmp_path)])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    shared = only_run(tmp_path)
    for name, value in weights(straight).items():
        torch.testing.assert_close(weights(shared)[name], value, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(epochs(shared), epochs(straight), strict=True):
        for term in ("loss", "word", "square"):
            assert math.isclose(float(ours[term]), float(theirs[term]), rel_tol=1e-4)
