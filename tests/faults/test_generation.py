"""What goes wrong while texts are asked for: servers, kills, two runs at once, disks, keys (R13)."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

import worker
from legorec.texts import endpoint
from legorec.texts.log_lines import read_answers
from tests.faults.test_small_disk import ended
from tests.support.disks import files_up_to, small_disk, with_small_disks
from tests.support.forking import Forked
from tests.support.generations import KEY, command, report, written
from tests.support.runs import write_store
from tests.support.text_server import Reply, TextServer

CANARY = "canary-4711-of-nobody"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A store that no test may change."""
    return write_store(tmp_path_factory.mktemp("few") / "store", num_items=16)


def prompts_in(log: Path) -> set[str]:
    """The items that a log holds answers for, by what was answered."""
    if not log.exists():
        return set()
    lines = log.read_bytes().rpartition(b"\n")[0]
    copy = log.with_name("copy.jsonl")
    copy.write_bytes(lines + b"\n" if lines else b"")
    return {each.texts[0].text for each in read_answers(copy) if each.texts}


def forked(argv: list[str], said: Path) -> Forked:
    """The worker in a process of its own."""
    return Forked(lambda: worker.main(argv), said)


def until(what, seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_faults_of_a_server_are_tried_again_or_counted_and_the_rest_is_kept(few, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)
    passing = [
        Reply(status=429, headers={"Retry-After": "0.01"}),
        Reply(status=500),
        Reply(fault="broken"),
        Reply(fault="half"),
        Reply(fault="truncated"),
        Reply(fault="not json"),
        Reply(fault="hang"),
    ]
    lasting = Reply(status=400, error={"message": "too long"})
    seen: dict[str, Reply] = {}

    def script(asked):
        if asked.prompt not in seen:
            seen[asked.prompt] = passing.pop() if passing else Reply()
            return seen[asked.prompt]
        return lasting if seen[asked.prompt].status == 500 else Reply()

    with TextServer(script, written) as server:
        changes = {"generator__read_timeout": 0.5, "generator__concurrency": 3}
        assert worker.main(command(few, tmp_path, server.url, **changes)) == 0
        found = report(tmp_path)
        assert found["failed"] == {"status 400: too long, 2 times": 1} and found["left"] == 0
        assert found["usable"] == 15 and found["answers"] == found["answered"] == len(seen) - 1
        before = len(server.asked)
        seen.clear()
        passing[:] = []
        assert worker.main(command(few, tmp_path, server.url)) == 0
        assert len(server.asked) == before + 1 and report(tmp_path)["usable"] == 16


def test_answers_of_no_use_are_kept_and_counted(few, tmp_path):
    texts = iter(["[oldtitle] x", "no label at all"])
    with TextServer(lambda asked: Reply(texts=(next(texts, written(asked.prompt)),))) as server:
        assert worker.main(command(few, tmp_path, server.url)) == 0
    failed = report(tmp_path)["failed"]
    assert sum(failed.values()) >= 2 and all(each.startswith("of no use: ") for each in failed)
    kept = [each.texts[0].text for each in read_answers(tmp_path / "answers.jsonl") if each.texts]
    assert {"[oldtitle] x", "no label at all"} <= {*kept}


def test_a_wrong_key_in_the_middle_ends_the_run_and_what_was_answered_stays(few, tmp_path, capsys):
    count = iter(range(100))
    with TextServer(lambda asked: Reply(status=401 if next(count) == 6 else 200), written) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=1)
        assert worker.main(argv) == 2
        assert "refuses" in capsys.readouterr().err and "refuses" in report(tmp_path)["stopped"]
        assert len(prompts_in(tmp_path / "answers.jsonl")) == 6
        assert worker.main(argv) == 0
    answered = Counter(each.prompt for each in server.asked)
    assert sorted(answered.values())[-1] == 2 and sum(answered.values()) == len(answered) + 1


def test_a_killed_run_loses_what_is_under_way_and_no_more(few, tmp_path):
    log = tmp_path / "answers.jsonl"
    with TextServer(answer=written, latency=0.05) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=2)
        process = forked(argv, tmp_path / "said")
        until(lambda: len(prompts_in(log)) >= 3)
        process.send(signal.SIGKILL)
        assert process.end()[0] == -signal.SIGKILL
        there, asked = prompts_in(log), len(server.asked)
        assert 3 <= len(there) < 16
        with open(log, "ab") as file:  # as if it had been killed in the middle of a line
            file.write(b'{"key":"abc","id":"i')
        assert worker.main(argv) == 0
        again = [written(each.prompt) for each in server.asked[asked:]]
    assert not there & {*again} and report(tmp_path)["usable"] == 16
    assert len(again) == len({*again}) == report(tmp_path)["answers"] - len(there)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_r4_a_signal_lets_what_is_under_way_end_and_every_prompt_is_asked_once(few, tmp_path, number):
    with TextServer(answer=written, latency=0.1) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=2)
        process = forked(argv, tmp_path / "said")
        until(lambda: len(server.asked) >= 4)
        process.send(number)
        status, said = process.end()
        assert status == 128 + number, said
        assert "stopping at the next safe place" in said and "Traceback" not in said
        assert "stopped, asked to stop: " in said and report(tmp_path)["left"] > 0
        assert worker.main(argv) == 0
    answered = Counter(each.prompt for each in server.asked)
    assert set(answered.values()) == {1} and report(tmp_path)["usable"] == 16


def test_a_second_signal_ends_at_once_and_keeps_what_was_answered(few, tmp_path):
    log, hang = tmp_path / "answers.jsonl", Reply(fault="hang")
    count = iter(range(100))
    with TextServer(lambda asked: hang if next(count) > 2 else Reply(), written) as server:
        process = forked(command(few, tmp_path, server.url, generator__concurrency=1), tmp_path / "said")
        until(lambda: len(server.asked) == 4)
        process.send(signal.SIGINT)
        until(lambda: "stopping" in (tmp_path / "said").read_text())
        process.send(signal.SIGINT)
        status, said = process.end()
    assert status == 130 and "every answer until then is in the log" in said
    assert len(prompts_in(log)) == 3


def test_two_runs_at_once_lose_nothing_and_ask_nothing_twice(few, tmp_path):
    with TextServer(answer=written, latency=0.02) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=3)
        processes = [forked(argv, tmp_path / f"said-{number}") for number in range(2)]
        ends = [process.end() for process in processes]
    assert [status for status, _ in ends] == [0, 0], ends
    assert {*Counter(each.prompt for each in server.asked).values()} == {1}
    answers = list(read_answers(tmp_path / "answers.jsonl"))
    assert {each.id for each in answers} == {f"i{number}" for number in range(16)}
    assert report(tmp_path)["usable"] == 16 and sum(not each.shared for each in answers) == len(server.asked)


def brought_back(said: str) -> None:
    """Do what the message says."""
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    subprocess.run(["/bin/sh", "-c", line.split("`")[1]], check=True)


def test_r3_a_full_disk_loses_nothing_that_was_paid_for(few, tmp_path, capsys, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    log = tmp_path / "answers.jsonl"
    with TextServer(answer=written, latency=0.02) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=4)
        with files_up_to(4500):
            assert worker.main(argv) == 2
        said = capsys.readouterr().err
        assert "answers.jsonl: could not be written, it needs" in said and "Traceback" not in said
        there, asked = prompts_in(log), {written(each.prompt) for each in server.asked}
        assert there and log.read_bytes().endswith(b"\n"), "whole lines"
        assert "paid for and had no room there: " in said and there < asked and len(asked) < 16
        brought_back(said)
        assert prompts_in(log) == asked
        assert worker.main(argv) == 0
    assert {*Counter(each.prompt for each in server.asked).values()} == {1}
    assert report(tmp_path)["usable"] == 16


def test_r3_with_no_room_anywhere_what_was_paid_for_is_shown(few, tmp_path, capsys, monkeypatch):
    log = tmp_path / "answers.jsonl"
    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=2)
        for name in ("gettempdir", "home", "cwd"):
            owner = tempfile if name == "gettempdir" else Path
            monkeypatch.setattr(owner, name, staticmethod(lambda: tmp_path / "not there"))
        with files_up_to(4500):
            assert worker.main(argv) == 2
        monkeypatch.undo()
        out, err = capsys.readouterr()
        assert "had no room on any disk: shown above; make room, append the lines" in err
        lines = [line for line in out.splitlines() if line.startswith('{"key"')]
        with open(log, "a") as file:
            file.writelines(f"{line}\n" for line in lines)
        assert prompts_in(log) == {written(each.prompt) for each in server.asked}


def on_a_small_disk(folder: Path) -> None:
    """Less and less room for a log, and what was paid for brought back with the command of the message."""
    store, kept = write_store(folder / "store", num_items=16), 0
    (folder / "elsewhere").mkdir()
    tempfile.tempdir = str(folder / "elsewhere")
    for pages in range(3, 8):
        with (
            TextServer(answer=lambda prompt: written(prompt) + " x" * 400) as server,
            small_disk(folder / "disk", pages * 4096) as resize,
        ):
            argv = command(store, folder / "disk", server.url, parameters__max_tokens=500)
            status, said = ended(argv)
            resize(1 << 20)
            if status == 0:
                continue
            assert status == 2 and "No space left on device" in said, said
            if "`cat" in said:
                kept += 1
                brought_back(said)
            assert ended(argv) == (0, "")
            assert {*Counter(each.prompt for each in server.asked).values()} == {1}
            assert report(folder / "disk")["usable"] == 16
    assert kept


@pytest.mark.slow
def test_r3_a_log_on_a_small_disk(tmp_path):
    with_small_disks("tests.faults.test_generation", "on_a_small_disk", tmp_path)


@pytest.mark.parametrize("where", [KEY, pytest.param("OPENAI_API_KEY", marks=pytest.mark.slow)])
def test_r13_a_key_is_in_nothing_that_is_written_or_said(few, tmp_path, capsys, monkeypatch, where):
    monkeypatch.setenv(where, CANARY)
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)
    replies = [
        lambda key: Reply(status=400, error={"message": f"the key {key} may not ask this"}),
        lambda key: Reply(status=500, error={"message": f"oh, {key}"}, headers={"X-Key": key}),
        lambda key: Reply(texts=(f"[newtitle] {key} of a title",)),
        lambda key: Reply(texts=(f"no label, {key}",)),
        lambda key: Reply(status=401, error={"message": f"wrong key {key}"}),
    ]
    keys = []

    def script(asked):
        (given,) = (value for name, value in asked.headers.items() if name.lower() == "authorization")
        keys.append(given.removeprefix("Bearer "))
        return replies.pop(0)(keys[-1]) if replies else Reply()

    with TextServer(script, written) as server:
        argv = command(few, tmp_path, server.url, generator__concurrency=1, generator__key_env=where)
        assert worker.main([*argv, "--dry_run", "true"]) == 0
        assert [worker.main(argv), worker.main(argv)] == [2, 0]
        assert worker.main([*argv, "--help"]) == 0
        argv[argv.index("--exp") + 1] = str(tmp_path / "none.yaml")
        assert worker.main(argv) == 2
    assert {*keys} == {CANARY} and not replies
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"answers.jsonl", "answers.report.json", "answers.settings.yaml"}
    assert all(CANARY.encode() not in path.read_bytes() for path in files)
    assert (tmp_path / "answers.jsonl").read_text().count("<masked>") >= 3
    said = "".join(capsys.readouterr())
    assert CANARY not in said and "error: " in said


def test_r13_a_key_is_not_in_a_traceback_that_nobody_foresaw(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(KEY, CANARY)
    monkeypatch.setattr("legorec.texts.asking.Asking._take", lambda *_: 1 / 0)
    with TextServer(answer=written) as server, pytest.raises(ZeroDivisionError):
        worker.main(command(few, tmp_path, server.url))
    assert CANARY not in "".join(capsys.readouterr())
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()
