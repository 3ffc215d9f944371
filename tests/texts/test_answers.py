"""Logs of both kinds give the same answers; what is of no use is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legorec.data.raw.lines import InputError
from legorec.texts.answers import Answers, answers_of, log_format, once_lines, read_log
from legorec.texts.generator import GeneratedText
from legorec.texts.records import LoggedAnswer
from legorec.texts.schemes import template_of
from tests.support.schemes import INVENTED, PROFILES, TITLES, scheme


def log(path: Path, tree: dict, *said: tuple[str, str], template: str | None = None) -> Path:
    """A log of a run, with one answer for each id."""
    name = template or template_of(scheme(tree))
    records = [
        LoggedAnswer(raw, name, (GeneratedText(text),), key=f"{place:032x}", generator={"model": "m"})
        for place, (raw, text) in enumerate(said)
    ]
    with open(path, "ab") as file:
        file.writelines(record.to_line() for record in records)
    return path


def read(tree: dict, *paths: Path, **how: str) -> Answers:
    return answers_of(scheme(tree), paths, say=lambda _: None, **how)


def test_a_log_of_a_run(tmp_path: Path) -> None:
    said = [("a", "[newtitle] One"), ("b", "no"), ("a", "[newtitle] Two"), ("a", ""), ("c", "no"), ("b", "")]
    found = read(TITLES, log(tmp_path / "log", TITLES, *said, ("c", "[newtitle] Three")))
    assert found.fields == {"a": [{"newtitle": "Two"}], "c": [{"newtitle": "Three"}]}
    assert found.problems == {"the answer is empty": 1} and found.generators == [{"model": "m"}]
    assert (found.lines, found.replaced) == (7, 1)
    assert found.counts == {
        "lines": 7,
        "answers": 2,
        "replaced by a later one": 1,
        "no answer of use: the answer is empty": 1,
    }


def test_a_failure_keeps_the_reason_of_its_answer(tmp_path: Path) -> None:
    path = log(tmp_path / "log", TITLES, ("a", "no"), ("b", "[newtitle] One"))
    with open(path, "ab") as file:
        for raw in "abc":
            failure = LoggedAnswer(raw, template_of(scheme(TITLES)), failed="status 500", key="1" * 32)
            file.write(failure.to_line())
    found = read(TITLES, path)
    assert found.fields == {"b": [{"newtitle": "One"}]}
    assert found.problems == {"no `newtitle`": 1, "the request failed (status 500)": 1}


def test_a_log_of_another_prompt(tmp_path: Path) -> None:
    path = log(tmp_path / "log", TITLES, ("a", "[newtitle] One"), template="titles@old")
    with pytest.raises(InputError, match=r"no answer to the prompts of 'titles@.*but of titles@old \(1\)"):
        read(TITLES, path)
    assert read(TITLES, path, template="titles@old").fields == {"a": [{"newtitle": "One"}]}
    log(path, TITLES, ("b", "[newtitle] Two"))
    found = read(TITLES, path)
    assert found.fields == {"b": [{"newtitle": "Two"}]}
    assert found.counts["of another template, titles@old"] == 1


def test_a_torn_last_line_is_said_and_left_out(tmp_path: Path) -> None:
    path = log(tmp_path / "log", TITLES, ("a", "[newtitle] One"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-20])
    heard: list[str] = []
    found = answers_of(scheme(TITLES), [path], say=heard.append)
    assert found.fields == {"a": [{"newtitle": "One"}]} and "was not written to its end" in heard[0]
    path.write_bytes(whole[:-20] + b"\n" + whole)
    with pytest.raises(ValueError, match=":1: is not a record"):
        read(TITLES, path)


def test_logs_of_once(tmp_path: Path) -> None:
    items = tmp_path / "book_summarizer.log"
    items.write_text("\na\t[newtitle] One\nb\tno\n7\t[newtitle]\n more\n\na\t[newtitle] Two\n")
    assert log_format(items) == "once-items"
    found = read(TITLES, items)
    assert found.fields == {"a": [{"newtitle": "Two"}], "7": [{"newtitle": "more"}]}
    assert found.problems == {"no `newtitle`": 1} and found.replaced == 1

    users = tmp_path / "user_profiler.log"
    users.write_text('{"uid": 3, "interest": "[topics] sport"}\n{"uid": "u", "interest": "[topics] war"}\n')
    assert log_format(users) == "once-users"
    assert read(PROFILES, users).fields == {"3": [{"topics": ["sport"]}]}

    made = tmp_path / "generator.log"
    made.write_text(json.dumps({"uid": 3, "news": '{\n "title": "T"\n}'}) + "\n")
    assert read(INVENTED, made).fields == {"3": [{"title": "T"}]}
    free = {"form": "json", "fields": {"interests": {"kind": "list"}}}
    made.write_text(json.dumps({"uid": 3, "interest": ["a", "b"]}) + "\n")
    assert read(PROFILES | {"answer": free, "system": ""}, made).fields == {"3": [{"interests": ["a", "b"]}]}


def test_several_logs_are_several_generations(tmp_path: Path) -> None:
    first = log(tmp_path / "1", INVENTED, ("u", '{"title": "A"}'))
    second = log(tmp_path / "2", INVENTED, ("u", '{"title": "B"}'))
    assert read(INVENTED, first, second).fields == {"u": [{"title": "A"}, {"title": "B"}]}
    titles = [log(tmp_path / f"t{text}", TITLES, ("a", f"[newtitle] {text}")) for text in "xy"]
    assert read(TITLES, *titles).fields == {"a": [{"newtitle": "y"}]}
    with pytest.raises(InputError, match="a log of the same content is named twice"):
        read(INVENTED, first, first)


@pytest.mark.parametrize("text", ["hello\n", '{"id": 1}\n', "[1]\n"])
def test_what_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(InputError, match="not a log of answers; a line is"):
        read(TITLES, tmp_path / "log")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read(TITLES, tmp_path / "log")
    (tmp_path / "log").write_text("\n")
    with pytest.raises(InputError, match="it holds no answer"):
        read(TITLES, tmp_path / "log")
    (tmp_path / "log").write_text('{"uid": 1, "interest": "x"}\n{"uid": 2}\n')
    with pytest.raises(InputError, match=":2: an object with `uid` and one of"):
        read(PROFILES, tmp_path / "log")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (TITLES, [("a", "[newtitle]\n One"), ("b", "no")]),
        (PROFILES, [("u", "[topics]\n- sport")]),
        (INVENTED, [("u", '{"title": "é"}')]),
    ],
)
def test_a_log_as_once_has_it_reads_back(tmp_path: Path, tree: dict, said: list[tuple[str, str]]) -> None:
    path = log(tmp_path / "log", tree, *said)
    lines = once_lines(scheme(tree), read_log(path))
    (tmp_path / "once.log").write_text("".join(f"{line}\n" for line in lines))
    assert read(tree, tmp_path / "once.log").fields == read(tree, path).fields
