"""Each processor makes a store like the one that it made before: from the same files it is the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from legorec.data.store import Store
from tests.docs.test_data_page import CASES, SECTIONS, prepare, process_and_train

NO_LIKE = {"retokenize.py", "add_users.py", "unitok.py", "embed.py", "enrich.py", "fetch_ml100k.py"}


@pytest.mark.slow
@pytest.mark.parametrize(("section", "layout"), CASES)
def test_a_store_that_is_made_like_itself_is_itself(
    section: str, layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(section, layout)
    for line in SECTIONS[section]:
        script = Path(line[1]).name
        if script == "worker.py":
            continue
        process_and_train([line])
        if script in NO_LIKE or "--like" in line:
            continue
        out = line.index("--out") + 1
        again = [*line[2:out], "data/again", *line[out + 1 :], "--like", line[out], "--overwrite"]
        importlib.import_module(f"process.{Path(script).stem}").main(again)
        one, other = Store.open(line[out]).manifest, Store.open("data/again").manifest
        assert other["files"] == one["files"]
        assert other["made_with"] == {**one["made_with"], "like": one["digest"]}
        assert other["dropped"] == one["dropped"] and other["interactions"] == one["interactions"]
