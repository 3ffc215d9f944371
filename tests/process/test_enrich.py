"""The script merges, checks and exports logs of answers, by the scheme of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from legorec.compose import SettingsError
from legorec.data.store import Store
from legorec.settings.scheme_file import read_scheme
from process.enrich import main
from tests.support.raw_files import refusal
from tests.support.schemes import TITLES, scheme
from tests.support.small_store import write

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def saved(path: Path, tree: object) -> Path:
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The arguments of a store, a scheme and a log."""
    write(tmp_path / "store")
    (tmp_path / "log").write_text("a\t[newtitle] One\nb\tno\n")
    saved(tmp_path / "exp.yaml", {"name": "x", "generate": {"scheme": TITLES}})
    return ["--scheme", str(tmp_path / "exp.yaml"), "--log", str(tmp_path / "log")]


def test_merge(tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["merge", *files, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "new")]
    main(words)
    shown = capsys.readouterr().out
    for line in ("1 items with an answer", "1 no answer of use: no `newtitle`", "4 items without an answer"):
        assert line in shown
    assert list(Store.open(tmp_path / "new").items.text("newtitle")) == ["One", "", "", "", ""]
    main(words)
    assert "it carries this generation already; nothing was changed" in capsys.readouterr().out
    assert "must lie between 0 and 1, got 2" in refusal(main, [*words, "--max_missing", "2"], capsys)


def test_check_and_export(tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", *files])
    assert "1 answers" in capsys.readouterr().out
    words = ["export-log", *files, "--out", str(tmp_path / "once.log")]
    main(words)
    assert (tmp_path / "once.log").read_text() == "a\t[newtitle] One\nb\tno\n"
    assert "it exists; give another name" in refusal(main, words, capsys)


def test_a_scheme_is_read_from_three_kinds_of_files(tmp_path: Path) -> None:
    trees = [
        TITLES,
        {"generate": {"scheme": TITLES, "log": "${log}"}},
        {"exp": {"generate": {"scheme": scheme(TITLES).model_dump()}}},
    ]
    for number, tree in enumerate(trees):
        assert read_scheme(saved(tmp_path / f"{number}.yaml", tree)) == scheme(TITLES)
    limited = saved(tmp_path / "limited.yaml", {"generate": {"scheme": TITLES | {"limit": "${limit:null}$"}}})
    assert read_scheme(limited).limit is None and read_scheme(limited, {"limit": "3"}).limit == 3
    with pytest.raises(SettingsError, match="no file .*titel.yaml"):
        read_scheme(tmp_path / "titel.yaml")
    wrong = saved(tmp_path / "wrong.yaml", {"generate": {"scheme": TITLES | {"limti": 3}}})
    with pytest.raises(SettingsError, match="wrong.yaml.*limti: there is no such setting.*'limit'"):
        read_scheme(wrong)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real logs are not here")
def test_a_real_log_gives_the_descriptions_that_lie_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from process.tables import main as tables

    books, log = SHARED / "goodreads", SHARED / "genre-goodreads" / "book_summarizer.log"
    words = ["--items", books / "books.tsv", "--item_id", "bid", "--text", "title", "--text", "description"]
    words += ["--histories", books / "histories.tsv", "--user", "uid", "--history", "history"]
    tables([str(word) for word in [*words, "--out", tmp_path / "Goodreads"]])
    answer = {"form": "labelled", "fields": {"desc": {"label": "description"}}}
    exp = saved(tmp_path / "exp.yaml", TITLES | {"user": "[book] {title}", "answer": answer})
    begun = time.process_time()
    words = ["merge", "--store", tmp_path / "Goodreads", "--scheme", exp, "--log", log]
    main([str(word) for word in [*words, "--out", tmp_path / "Goodreads-cs"]])
    assert time.process_time() - begun < 10
    items = Store.open(tmp_path / "Goodreads-cs").items
    pairs = [*zip(items.text("desc"), items.text("description"), strict=True)]
    answered = [(one, other) for one, other in pairs if one]
    differing = [one for one, other in answered if one != other]
    assert len(answered) == sum(1 for _ in open(log, encoding="utf-8"))
    # ONCE asked again for what ended so, and the log here ends before the second answers.
    assert all(one.endswith("is a book.") for one in differing) and len(differing) < len(answered) / 10
    assert json.loads((tmp_path / "Goodreads-cs" / "manifest.json").read_text())["generations"]
