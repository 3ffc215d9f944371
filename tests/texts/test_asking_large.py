"""Runs as large as a real one: what they take of memory and of the processor."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from legorec.texts import GeneratedText, Message, TextRequest
from legorec.texts.answer_log import AnswerLog
from legorec.texts.asking import Asking
from legorec.texts.endpoint import EndpointTextGenerator
from legorec.texts.lookup import Lookup, survey
from legorec.texts.records import LoggedAnswer
from tests.support.answering import GREEDY, Answering, ask
from tests.support.forking import Forked
from tests.support.runs import ROOT
from tests.support.text_server import TextServer

BOOKS = 16_833  # of Goodreads, as ONCE has them
PEAK = """
import resource, sys
from pathlib import Path
from legorec.texts import Message, TextRequest
from legorec.texts.answer_log import AnswerLog
from legorec.texts.asking import Asking
from legorec.texts.lookup import Lookup
from tests.support.answering import GREEDY, Answering

def requests():
    for number in range(int(sys.argv[2])):
        yield TextRequest(str(number), (Message("user", f"prompt {number}"),), "t@1")

generator = Answering(lambda prompt, parameters: prompt * 50)
generator.asked = type("", (), {"append": lambda self, each: None})()
with AnswerLog(Path(sys.argv[1])) as log:
    assert Asking(requests, Lookup(generator, GREEDY, log)).run().usable == int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_of_a_hundred_thousand_requests_is_that_of_ten_thousand(tmp_path):
    def peak(count: int) -> int:
        """Kilobytes."""
        argv = [sys.executable, "-c", PEAK, str(tmp_path / f"{count}.jsonl"), str(count)]
        return int(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout)

    assert peak(100_000) < peak(10_000) + 20_000, "the log has 41 MB more"


@pytest.mark.slow
def test_a_replayed_run_of_all_books_takes_seconds(tmp_path):
    def requests():
        for number in range(BOOKS):
            prompt = f"[book] The {number}th Book of Something, a Novel"
            yield TextRequest(
                str(number), (Message("system", "Describe it. " * 20), Message("user", prompt)), "t"
            )

    with AnswerLog(tmp_path / "log.jsonl") as log:
        lookup = Lookup(Answering(), GREEDY, log)
        with open(log.path, "ab") as file:
            for each in requests():
                text = GeneratedText("A novel about something. " * 10, None, 50)
                record = LoggedAnswer(
                    each.id, "t", (text,), key=lookup.key(each, 0), generator=lookup.identity
                )
                file.write(record.to_line())
    began = time.process_time()
    with AnswerLog(tmp_path / "log.jsonl") as log:
        lookup = Lookup(Answering(), GREEDY, log)
        assert survey(requests, lookup).found == BOOKS
        assert Asking(requests, lookup).run().found == BOOKS
    assert time.process_time() - began < 10.0


@pytest.mark.slow
def test_many_requests_at_once_are_answered_as_many_times_as_fast(tmp_path):
    """Against a server in a process of its own that takes 200 ms for each: 20 times as fast with 32."""

    def serve() -> int:
        with TextServer(latency=0.2) as server:
            (tmp_path / "url").write_text(f"{server.url}\n")
            while not (tmp_path / "end").exists():
                time.sleep(0.02)
        return 0

    def seconds(name: str, at_once: int, count: int) -> float:
        """Of one request, the first ones of a client left out."""
        url = (tmp_path / "url").read_text().strip()
        generator = EndpointTextGenerator(url, "small", concurrency=at_once, key_env=None)
        ask(tmp_path / f"{name}.jsonl", [f"{name} first"], generator)
        began = time.monotonic()
        names = [f"{name} {number}" for number in range(count)]
        assert ask(tmp_path / f"{name}.jsonl", names, generator).usable == count
        return (time.monotonic() - began) / count

    server = Forked(serve, tmp_path / "said")
    try:
        while not ((tmp_path / "url").exists() and "\n" in (tmp_path / "url").read_text()):
            time.sleep(0.02)
        assert seconds("one", 1, 15) / seconds("many", 32, 640) >= 20.0
    finally:
        (tmp_path / "end").touch()
        server.end()
