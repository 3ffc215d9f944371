"""No guarded ratio fell, and the guard sees it where one does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest

from benchmarks import guard, guarded, store
from benchmarks.guarded import Contest, Costs, Ratio

ROOT = Path(__file__).resolve().parents[2]


class Taken:
    """A clock that only what is told to takes time moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def by(self, seconds: float) -> object:
        def work(*_: object) -> float:
            self.seconds += seconds
            return seconds

        return work


def contest(*attempts: float, sizes: str = "ten items") -> Contest:
    """Ours takes so many seconds in each attempt, and the baseline 12."""
    costs = iter(attempts)

    def turns(folder: Path) -> Iterator[Costs]:
        assert folder.is_dir() and not list(folder.iterdir())
        return repeat({"plain": 12.0, "ours": next(costs)})

    return Contest(turns, (Ratio("some ratio", "plain", "ours", "theirs over ours"),), sizes, "make all")


def recorded(*attempts: float) -> dict[str, object]:
    return guard.record([contest(*(attempts or [1.0] * guard.PASSES))], lambda line: None)


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["guard", *arguments])
    monkeypatch.setattr(guard.torch, "set_num_threads", lambda number: None)
    return guard.main()


def test_a_third_slower_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = Taken()
    monkeypatch.setattr(guarded, "cpu_seconds", partial(store.seconds, now=lambda: taken.seconds))
    monkeypatch.setattr(guarded.metrics, "loop_over_impressions", taken.by(1.0))
    monkeypatch.setattr(guarded, "roc_auc_score", taken.by(20.0))
    monkeypatch.setattr(guarded, "evaluate", taken.by(0.5))
    monkeypatch.setattr(guard, "CONTESTS", [each for each in guard.CONTESTS if each.full.endswith("metrics")])
    monkeypatch.setattr(guard, "RECORDED", tmp_path / "recorded.json")
    assert run_main(monkeypatch, "--record") == 0
    assert run_main(monkeypatch) == 0
    assert "metrics: 240.0, 100% of the recorded 240.0\n" in capsys.readouterr().out

    before = (tmp_path / "recorded.json").read_bytes()
    for share, kept in ((0.4, True), (0.8, False)):  # a faster machine for us, then a slower one
        (tmp_path / "recorded.json").write_bytes(before)
        monkeypatch.setattr(guarded, "evaluate", taken.by(share))
        assert run_main(monkeypatch, "--record", "--also") == 0
        ratio = json.loads((tmp_path / "recorded.json").read_text())["ratios"]["metrics"]["ratio"]
        assert ratio == (240.0 if kept else 150.0)
    (tmp_path / "recorded.json").write_bytes(before)

    monkeypatch.setattr(guarded, "evaluate", taken.by(0.5 * 4 / 3))
    assert run_main(monkeypatch, "metrics") == 1
    out = capsys.readouterr().out
    expected = "metrics: 180.0, 75% of the recorded 240.0, below 80%; measure in full: python -m benchmarks."
    assert expected in out and "Recorded on" in out


@pytest.mark.slow
def test_work_done_twice_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, size in (("IMPRESSIONS", 4_000), ("ROWS", 150_000), ("SAMPLE", 20)):
        monkeypatch.setattr(guarded, f"METRIC_{name}", size)
    monkeypatch.setattr(guard, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(guard, "CONTESTS", [each for each in guard.CONTESTS if each.full.endswith("metrics")])
    assert run_main(monkeypatch, "--record") == 0
    assert run_main(monkeypatch) == 0
    once = guarded.evaluate
    monkeypatch.setattr(guarded, "evaluate", lambda *given: (once(*given), once(*given)))
    assert run_main(monkeypatch) == 1


@pytest.mark.parametrize(("ours", "fell"), [(1.2, False), (1.3, True)])
def test_what_falls_below_0_8_fell(ours: float, fell: bool) -> None:
    (found,) = guard.findings([contest(*[ours] * guard.ATTEMPTS)], recorded())
    assert found.fell is fell


@pytest.mark.parametrize(
    ("attempts", "best", "fell"),
    [([1.0], 12, False), ([2.0, 4.0, 1.0], 12, False), ([4.0, 2.0, 3.0], 6, True)],
)
def test_what_falls_is_measured_twice_more(attempts: list[float], best: float, fell: bool) -> None:
    (found,) = guard.findings([contest(*attempts)], recorded())  # an attempt more would raise StopIteration
    assert (found.measured, found.fell) == (best, fell)


def test_the_median_of_the_turns_counts() -> None:
    def turns(folder: Path) -> Iterator[Costs]:
        yield {"plain": 0.1, "ours": 0.1}  # not counted
        yield {"plain": 6.0, "ours": 3.0}
        yield {"plain": 8.0, "ours": 2.0}
        yield {"plain": 9.0, "ours": 1.0}

    held = Contest(turns, contest().ratios, "", "")
    assert held.measure(Path(), rounds=3) == {"some ratio": 4.0}


def test_the_median_is_recorded() -> None:
    found = recorded(4.0, 2.0, 1.0)
    assert found["ratios"] == {
        "some ratio": {"ratio": 6.0, "lowest": 3.0, "highest": 12.0, "what": "theirs over ours; ten items"}
    }


@pytest.mark.parametrize("other", [{}, {"sizes": "ten items", "name": "another"}])
def test_other_sizes_are_refused(other: dict[str, str]) -> None:
    found = recorded() if other else {"ratios": {}}
    with pytest.raises(
        ValueError, match='"some ratio" was not recorded at the sizes of today; run python -m'
    ):
        next(guard.findings([contest(1.0, sizes="eleven items")], found))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stores"], "NAME must be one of training NAML, .*, got stores"),
        (["store", "--record"], "--record writes all ratios and takes no NAME"),
    ],
)
def test_wrong_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_main(monkeypatch, *arguments)
    assert message.partition(".*")[2] in capsys.readouterr().err


def test_every_ratio_is_recorded_at_its_sizes() -> None:
    ratios = json.loads(guard.RECORDED.read_text(encoding="utf-8"))["ratios"]
    expected = {each.name: guard.described(held, each) for held in guard.CONTESTS for each in held.ratios}
    assert len(expected) == 11
    assert {name: each["what"] for name, each in ratios.items()} == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_ratio_fell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 11
