"""Faults of the program are told from mistakes of a user, and a run's log holds the traceback of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import worker
from legorec.data.store import Store, StoreError
from legorec.engine.unforeseen import LOGGED, is_foreseen, told
from legorec.recommender import Recommender
from legorec.template import parse_template
from tests.support.runs import arguments, only_run


def own_brick(heads: int) -> None:
    raise ValueError(f"`heads` must be even, got {heads}")


def chained() -> None:
    try:
        int("many")
    except ValueError as error:
        raise StoreError("the number of items must be a number, got 'many'") from error


MISTAKES = {
    "a template": lambda: parse_template("no field"),
    "a store": lambda: Store.open("/no/such"),
    "a brick of a user's own": lambda: own_brick(3),
    "one that explains another": chained,
    "a file": lambda: open("/no/such"),
}
FAULTS = {
    "Python in a line of ours": lambda: int("many"),
    "unpacking": lambda: [list(pair) for pair in zip([1], [], strict=True)],
    "numpy": lambda: np.zeros(3).reshape(2, 2),
    "torch": lambda: torch.nn.Dropout(7.0),
    "another class": lambda: {}["key"],
}


@pytest.mark.parametrize("what", [*MISTAKES, *FAULTS])
def test_mistakes_and_faults(what: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any class
        (MISTAKES | FAULTS)[what]()
    error = caught.value
    assert is_foreseen(error) is (what in MISTAKES)
    if what in MISTAKES:
        assert told(error) == f"error: {error}"
        return
    assert told(error).startswith("Traceback") and "\nerror: not foreseen" in told(error)
    error.add_note(f"{LOGGED}runs/run.log")
    assert told(error).startswith("error: ") and told(error).endswith("the traceback is in runs/run.log")
    assert "\n" not in told(error)


@pytest.mark.parametrize("error", [ValueError, StoreError, KeyError, RuntimeError])
def test_the_log_of_a_run_holds_every_traceback(store, tmp_path, capsys, monkeypatch, error):
    def faulty(*given, **named):
        raise error("what went wrong")

    monkeypatch.setattr(Recommender, "forward", faulty)
    argv = arguments(store, tmp_path / "runs", epoch=1)
    if issubclass(error, ValueError):
        assert worker.main(argv) == 2
        assert capsys.readouterr().err == "error: what went wrong\n"
    else:
        with pytest.raises(error) as caught:
            worker.main(argv)
        assert LOGGED in caught.value.__notes__[0]
    log = (only_run(tmp_path / "runs") / "run.log").read_text()
    assert "Traceback (most recent call last)" in log and "in faulty" in log
    assert log.rstrip().splitlines()[-1].startswith("stopped: ")


def test_a_fault_of_the_program_is_told_on_the_screen_with_its_log(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Recommender, "forward", lambda *given, **named: int("many"))
    assert worker.main(arguments(store, tmp_path / "runs", epoch=1)) == 2
    said = capsys.readouterr().err
    run = only_run(tmp_path / "runs")
    assert said.startswith("error: not foreseen, so a fault of the program: ValueError: invalid literal")
    assert said.endswith(f"the traceback is in {run / 'run.log'}\n")
    assert "invalid literal" in (run / "run.log").read_text()
