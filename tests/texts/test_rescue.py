"""What was paid for goes to another disk, or to the screen."""

import json
import os
from pathlib import Path

from legorec.texts import GeneratedText
from legorec.texts.log_lines import read_answers
from legorec.texts.records import LoggedAnswer
from legorec.texts.rescue import rescue

RECORDS = [LoggedAnswer(id, "t", (GeneratedText(f"\u00e9 {id}"),), key=f"k{id}") for id in "ab"]


def test_it_takes_the_first_place_that_has_room(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    said = rescue(RECORDS, log, places=[tmp_path / "none", tmp_path])
    kept = tmp_path / f"log.jsonl.rest-{os.getpid()}"
    assert said == (
        f"2 answers that were paid for and had no room there: {kept}; make room, bring them back with "
        f"`cat {kept} >> {log}`, and go on"
    )
    assert os.system(f"cat {kept} >> {log}") == 0  # noqa: S605 - what the message says
    assert list(read_answers(log)) == RECORDS and capsys.readouterr().out == ""


def test_with_no_room_anywhere_it_is_shown(tmp_path):
    lines: list[str] = []
    said = rescue(RECORDS[:1], tmp_path / "log.jsonl", lines.append, [tmp_path / "none"])
    assert [json.loads(line)["key"] for line in lines] == ["ka"]
    assert said.startswith("1 answer that was paid for and had no room on any disk: shown above; make room")
    assert list(Path(tmp_path).iterdir()) == []
