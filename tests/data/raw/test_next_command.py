"""What a processor leaves behind trains at once: a data layer in the store, and a command that works."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import legorec
from legorec.data.layer import LAYER
from legorec.data.store import Store
from legorec.program.worker import main as work
from legorec.settings import SettingsError, read_command_line
from process import synthetic, tables
from tests.support.raw_files import ROOT

ITEMS = "item,title,topic,price\n" + "".join(f"{k},story number {k},t{k % 4},{k}\n" for k in range(1, 31))
CLICKS = "user,item\n" + "".join(f"u{u},{(u * 7 + n * 5) % 30 + 1}\n" for u in range(8) for n in range(5))
SOURCE = ("--items", "items.csv", "--interactions", "clicks.csv", "--num_negatives", "5")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "clicks.csv").write_text(CLICKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The command that was printed last."""
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: legorec run ")
    return shlex.split(last)[3:]


def test_no_processor_waits_for_torch(here: Path) -> None:
    """To import it takes seconds and a hundred megabytes, and a processor computes nothing by it."""
    code = (
        "import sys; from process import tables; tables.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    )
    fields = ("--item_id", "item", "--text", "title", "--category", "topic", "--number", "price")
    asked = [*SOURCE, *fields, "--user", "user", "--item", "item", "--out", "made"]
    done = subprocess.run(
        [sys.executable, "-c", code, *asked], cwd=here, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and (here / "made" / LAYER).is_file()


FIELDS = {
    "text": ("--text", "title"),
    "category": ("--category", "topic"),
    "number": ("--number", "price"),
    "all": ("--text", "title", "--tokenizer", "words", "--tokenizer", "chars", "--category", "topic"),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_the_command_works_as_printed(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    tables.main([*SOURCE, *FIELDS[kind], "--out", "data/my table"])
    argv = told(capsys)
    assert argv[:2] == ["--data", "data/my table"]
    assert work(argv) == 0
    (metrics,) = here.glob("runs/my-table/NAML/*/metrics.json")
    assert "test" in metrics.read_text()
    fields = read_command_line(argv).data.fields
    assert [*fields] == {"all": ["title@words", "topic"], "text": ["title@words"]}.get(
        kind, [FIELDS[kind][1]]
    )


def test_a_store_without_test_is_trained_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"u{k % 8},{k % 30 + 1},{'train' if k < 60 else 'valid'}" for k in range(80)]
    Path("clicks.csv").write_text("\n".join(["user,item,part", *rows]))
    split = ("--split", "column", "--split_column", "part")
    tables.main([*SOURCE, *split, "--text", "title", "--out", "data/t"])
    argv = told(capsys)
    assert argv[-2:] == ["--exp", "train"] and work(argv) == 0


def test_ratings_that_stand_alone_are_ranked_by_user(here: Path) -> None:
    rows = [f"u{k % 8},{k % 30 + 1},{k % 2},{k}" for k in range(80)]
    Path("clicks.csv").write_text("\n".join(["user,item,liked,time", *rows]))
    how = ("--split", "time", "--time", "time", "--label", "liked", "--text", "title")
    tables.main([*SOURCE, *how, "--out", "data/t"])
    argv = ["--data", "data/t", "--model", "lego_naml", "--exp", "train"]
    assert read_command_line(argv).data.group_by == "user"


def test_items_without_fields_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.main([*SOURCE, "--out", "data/t"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "next: nothing of the items can be read; name their columns (--text, --category, ...)"
    assert not Path("data/t", LAYER).exists()


def test_a_layer_is_the_users_until_the_store_is_replaced(here: Path, capsys) -> None:
    make = ["--items", "60", "--users", "20", "--impressions", "40", "--out", "data/s"]
    synthetic.main(make)
    file = Path("data/s", LAYER)
    written = file.read_text()
    file.write_text(written.replace("30", "7"))
    legorec.data.raw.command.print_counts(Path("data/s"))
    assert "max_length: 7" in file.read_text() and "wrote" not in capsys.readouterr().out.splitlines()[-2]
    synthetic.main([*make, "--overwrite"])
    assert file.read_text() == written


def test_a_store_that_was_moved_is_read_where_it_is(here: Path) -> None:
    tables.main([*SOURCE, "--text", "title", "--out", "data/t"])
    Path("data/t").rename("elsewhere")
    more = ["--model", "lego_naml", "--exp", "train"]
    assert read_command_line(["--data", "./elsewhere", *more]).data.store == "./elsewhere"
    named = read_command_line(["--data", "./elsewhere", "--data.store", "other", *more])
    assert named.data.store == "other"
    Path("elsewhere", LAYER).unlink()
    with pytest.raises(SettingsError, match="no file ./elsewhere/data.yaml"):
        read_command_line(["--data", "./elsewhere", *more])


def test_tables_in_memory_leave_one_too(here: Path) -> None:
    columns = [dict(zip(("user", "item"), line.split(","), strict=True)) for line in CLICKS.split()[1:]]
    clicks = {name: [row[name] for row in columns] for name in ("user", "item")}
    items = {"item": [str(k) for k in range(1, 31)], "true": [f"story {k}" for k in range(30)]}
    store = legorec.Store.from_frames(items, clicks, "1e5", text="true", num_negatives=5)
    settings = read_command_line(["--data", "1e5", "--model", "lego_naml", "--exp", "train"])
    assert (settings.data.name, settings.data.store, [*settings.data.fields]) == (
        "1e5",
        "1e5",
        ["true@words"],
    )
    assert Store.open("1e5").digest == store.digest
