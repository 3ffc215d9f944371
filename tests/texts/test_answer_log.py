"""The log of answers: what was written is found, what is wrong with a log is told, nothing is lost."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from legorec.texts import GeneratedText
from legorec.texts.answer_log import AnswerLog
from legorec.texts.log_lines import read_answers
from legorec.texts.records import LoggedAnswer


def record(id: str, text: str = "a text", **more) -> LoggedAnswer:
    fields = {"key": f"key of {id}", "generator": {"kind": "fake"}, "prompt_tokens": 3} | more
    return LoggedAnswer(id, "t@1", (GeneratedText(text, -1.5, 2),), **fields)


def failure(id: str) -> LoggedAnswer:
    return LoggedAnswer(id, "t@1", failed="status 500", key=f"key of {id}", generator={"kind": "fake"})


def written(path: Path, *records: LoggedAnswer) -> Path:
    with AnswerLog(path) as log:
        for each in records:
            log.append(each)
    return path


def ids(path: Path) -> list[str]:
    return [each.id for each in read_answers(path)]


def test_what_is_written_is_found_again_as_it_was(tmp_path):
    records = [
        record("a", "two\nlines\u2028 of \u00e9 \U0001f600 text", attempt=2),
        failure("b"),
        record("c", "half a pair \ud83d", completion_tokens=5, shared=True),
        LoggedAnswer("d", "t@1", (GeneratedText("part", finished=False),), "no more", "key of d"),
    ]
    path = written(tmp_path / "log.jsonl", *records)
    assert list(read_answers(path)) == records
    with AnswerLog(path) as log:
        assert log.find("key of a", "a") == records[0] and log.find("key of c", "c") == records[2]
        assert log.find("key of b", "b") is None and log.find("key of d", "d") is None, "failures"
        assert log.find("key of e", "a") is None
        assert len(log) == 1, "answers that were asked for: no failure, and none that is shared"
    assert len(path.read_bytes().split(b"\n")) == 5


def test_a_prompt_of_two_ids_has_one_answer(tmp_path):
    with AnswerLog(tmp_path / "log.jsonl") as log:
        log.append(record("a"))
        found = log.find("key of a", "b")
        assert found is not None and found.id == "a"
        assert log.share(found, "b").id == "b"
        assert log.find("key of a", "b").shared and log.find("key of a", "a").id == "a"
    assert ids(tmp_path / "log.jsonl") == ["a", "b"]


def test_the_later_answer_of_a_key_counts(tmp_path):
    path = written(tmp_path / "log.jsonl", record("a", "one"), record("a", "two"), failure("a"))
    with AnswerLog(path) as log:
        assert log.find("key of a", "a").texts[0].text == "two" and len(log) == 1
        assert log.get("key of a").texts[0].text == "two" and log.get("key of b") is None


def test_a_log_that_is_only_read_is_not_made(tmp_path):
    with AnswerLog(tmp_path / "none" / "log.jsonl", appends=False) as log:
        assert log.find("key of a", "a") is None and len(log) == 0
    assert not (tmp_path / "none").exists()
    path = written(tmp_path / "log.jsonl", record("a"))
    before = path.read_bytes()
    path.write_bytes(before + b'{"key": "torn')
    with AnswerLog(path, appends=False) as log:
        assert log.find("key of a", "a") is not None
    assert path.read_bytes() == before + b'{"key": "torn'


def test_a_torn_last_line_is_dropped_with_a_warning(tmp_path, capsys):
    whole = written(tmp_path / "log.jsonl", record("a"), record("b", "\u00e9\u00e9")).read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first + 1, len(whole) - 1, 5):
        path = tmp_path / "torn.jsonl"
        path.write_bytes(whole[:cut])
        assert ids(path) == ["a"]
        assert f"{path}:2: the last line was not written to its end" in capsys.readouterr().out
        assert path.read_bytes() == whole[:cut], "who reads leaves it as it is"
    written(path, record("c"))
    assert "and is cut" in capsys.readouterr().out
    assert ids(path) == ["a", "c"] and capsys.readouterr().out == ""


def test_zeros_that_a_power_failure_left_are_a_torn_line(tmp_path, capsys):
    path = written(tmp_path / "log.jsonl", record("a"))
    path.write_bytes(path.read_bytes() + bytes(4096))
    written(path, record("b"))
    assert ids(path) == ["a", "b"] and "(4,096 bytes) and is cut" in capsys.readouterr().out


def test_a_missing_end_of_the_last_line_is_added_before_anything_is_appended(tmp_path, capsys):
    path = written(tmp_path / "log.jsonl", record("a"), record("b"))
    path.write_bytes(path.read_bytes()[:-1])
    assert ids(path) == ["a", "b"]
    with AnswerLog(path) as log:
        assert log.find("key of b", "b") is not None
    written(path, record("c"))
    assert ids(path) == ["a", "b", "c"] and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{'key': 1}", r"Expecting property name"),
        (b"[1]", "it is no JSON object"),
        (b'{"key": 1, "id": "a"}', "its `key` must be text, got 1"),
        (b'{"key": "k", "id": "a"}', "it has neither `texts` nor `failed`"),
        (b'{"key": "k", "id": "a", "texts": [{"txt": "x"}]}', "a list of blocks with `text`"),
        (b'{"key": "k", "id": "a", "texts": [{"text": 3}]}', "must be text"),
        (b'{"key": "k", "id": "\xff"}', "no UTF-8 at byte 20"),
        (b"", "Expecting value"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_number(tmp_path, line, told):
    path = written(tmp_path / "log.jsonl", record("a"), record("b"))
    one, two = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(one + line + b"\n" + two)
    match = rf"log\.jsonl:2: is not a record of an answer \(.*{told}.*take the line out, or restore the log"
    with pytest.raises(ValueError, match=match):
        ids(path)
    with pytest.raises(ValueError, match=match):
        AnswerLog(path)


def test_a_last_line_of_something_else_is_no_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"uid": 3, "interest": "x"}')
    before = path.read_bytes()
    for read in (AnswerLog, ids):
        with pytest.raises(ValueError, match="jsonl:1: is not a record of an answer"):
            read(path)
    assert path.read_bytes() == before


def test_a_log_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(ValueError, match="cannot be read .*it is a log of answers"):
        ids(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ValueError, match="cannot be written .*; name another log of answers"):
        AnswerLog(tmp_path / "folder.jsonl")


def test_what_another_has_appended_is_seen(tmp_path):
    path = tmp_path / "log.jsonl"
    with AnswerLog(path) as one, AnswerLog(path) as other:
        one.append(record("a"))
        other.append(record("b"))
        one.append(record("c"))
        assert not other.claim("key of c"), "it is answered"
        assert one.find("key of b", "b") is not None and other.find("key of c", "c") is not None
    assert ids(path) == ["a", "b", "c"]


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    with AnswerLog(path) as log:
        log.append(record("a"))
        os.replace(path, tmp_path / "moved.jsonl")
        log.append(record("b"))
        path.unlink()
        log.append(record("c"))
        assert log.find("key of c", "c") is not None and log.find("key of b", "b") is None
    assert ids(tmp_path / "moved.jsonl") == ["a"] and ids(path) == ["c"]
    assert (
        capsys.readouterr().out.count("was removed or moved while a run wrote to it; it is begun anew") == 2
    )


def test_a_log_that_was_cut_while_in_use_is_an_error(tmp_path):
    path = written(tmp_path / "log.jsonl", record("a"), record("b"))
    with AnswerLog(path) as log:
        os.truncate(path, 10)
        with pytest.raises(ValueError, match="was cut by another program while it was in use; run again"):
            log.append(record("c"))


def test_memory_does_not_grow_with_the_answers(tmp_path):
    def peak(count: int, length: int) -> int:
        path = tmp_path / f"{count}-{length}.jsonl"
        line = json.loads(record("0", "x" * length).to_line())
        with open(path, "w") as file:
            for number in range(count):
                file.write(json.dumps(line | {"key": f"k{number}", "id": str(number)}) + "\n")
        tracemalloc.start()
        with AnswerLog(path) as log:
            assert len(log) == count and log.find("k1", "1") is not None
            most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, tall, long = peak(400, 100), peak(400, 20_000), peak(800, 20_000)
    assert tall < small + (4 << 20), "texts of 8 MB are read block by block"
    assert long < tall + (1 << 20), "twice as many take an index of 32 bytes each"
