"""Without a terminal a bar is silent, or says a line now and then."""

import re

import pytest

from legorec.engine import progress
from legorec.engine.progress import Lines, bar, rate_text
from tests.support.runs import arguments, finish, only_run


def test_a_bar_without_a_terminal_writes_nothing(capsys):
    with bar("epoch 0", 10) as show:
        show(1, 10)
        show(10, 10)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are added."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute(clock):
    said: list[str] = []
    with bar("dev", 1000, say=said.append) as show:
        for done in range(1, 601):
            clock[0] += 0.5
            show(done, 1000)
    assert len(said) == 5
    assert (said[0], said[-1]) == (
        "dev: 120 of 1,000, about 7 min left",
        "dev: 600 of 1,000, about 3 min left",
    )
    with bar("dev", 10, shown=False, say=said.append) as show:
        clock[0] += 100
        show(5, 10)
    assert len(said) == 5, "by the first process alone"


def test_a_slow_rate_is_not_zero():
    assert [rate_text(rate) for rate in (1234.5, 10.0, 9.99, 0.168)] == ["1,234", "10", "9.99", "0.17"]


def test_what_was_done_before_does_not_count_as_speed(clock):
    said: list[str] = []
    lines = Lines(
        "epoch 3", said.append, goes_on=True, detail=lambda done, seconds: f"{done / seconds:g} a second"
    )
    lines(500, 10_000)
    clock[0] += 60
    assert lines.is_due()
    lines(560, 10_000)
    assert said == ["epoch 3: 560 of 10,000, 1 a second, about 2.6 h left"] and not lines.is_due()


def test_the_first_of_many_say_no_rate(clock):
    """Where all answers of a batch come at once, the first of them says nothing of the others."""
    said: list[str] = []
    with bar("generate", 300, say=said.append) as show:
        clock[0] += 80
        for done in range(1, 101):
            show(done, 300)
        clock[0] += 80
        show(101, 300)
    assert said == ["generate: 1 of 300", "generate: 101 of 300, about 5 min left"]


def test_a_long_epoch_says_how_far_it_is_and_ends_as_a_short_one(store, tmp_path, capsys, monkeypatch):
    straight = finish(arguments(store, tmp_path / "straight", epoch=1))
    monkeypatch.setattr(progress, "EVERY", 0.0)
    run = finish(arguments(store, tmp_path / "runs", epoch=1))
    line = r"epoch 0: batch: \d+ of 8, step \d+, loss \d\.\d{4}, [\d,]+ examples/s, about \d+ s left"
    assert len(re.findall(line, capsys.readouterr().out)) > 2
    assert re.search(line, (only_run(tmp_path / "runs") / "run.log").read_text())
    assert (run / "epochs.csv").read_text() == (straight / "epochs.csv").read_text()
