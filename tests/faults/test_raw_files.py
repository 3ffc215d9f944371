"""Raw files that are not as they should be, of every processor: named, or counted; never taken in silence."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from legorec.data.raw.command import LARGE_SHARE, run
from legorec.data.store import Store
from tests.support.raw_files import made
from tests.support.small_raw import SMALL, Raw
from tests.support.small_store import files

NO_TEXT = ("no text", "zstd", "a zip", "a damaged gzip", "UTF-16")
# A data set is known by these, or does without them.
OPTIONAL = {"u.data", "users.dat", "ratings.dat", "ml.inter", "ml.item", "ml.user", "meta.json"}
OPTIONAL |= {"valid_user_set_0.1.txt"}
UNREAD = {"index.vocab", "meta.json"}  # the second may be UTF-16, as any JSON
# The others do the same with other files, and are slow.
QUICK = ("mind", "movielens 1m")
SAMPLED = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SMALL]
TIMED = [each for each in SAMPLED if each.values[0] not in ("recbench", "unitok")]
# What may befall a file; each is given its content.
WRONG: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no text": lambda _: b"\x00\xff\xfe\x80" * 50,
    "another table": lambda _: b"colour\tsize\nred\t5\nblue\t6\n",
}
MORE_WRONG: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda data: data[: len(data) // 2 - 1],
    "its end is lost": lambda data: data[:-3],
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "a byte that is no text": lambda data: data[: len(data) // 2] + b"\xff" + data[len(data) // 2 :],
    "an empty line and a short one": lambda data: data + b"\n\nx\n",
    "a quote that is not closed": lambda data: data + b'"x\n',
    "a zip": lambda _: b"PK\3\4" + b"\0" * 60,
    "zstd": lambda _: b"\x28\xb5\x2f\xfd" + b"\0" * 60,
    "a damaged gzip": lambda data: gzip.compress(data)[:-20],
    "a web page": lambda _: b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
    "one line of JSON": lambda _: b'{"a": 1}\n',
    "an empty list": lambda _: b"[]",
}


def outcome(raw: Raw, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a refusal; "" where the files were taken."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(raw.main, [str(part) for part in (*raw.arguments, "--out", out, "--overwrite")])
    said = capsys.readouterr().err
    assert ended.value.code in (0, 2) and "Traceback" not in said, said
    return said.strip().splitlines()[-1] if ended.value.code else ""


def named(raw: Raw, wrong: dict[str, Callable[[bytes], bytes]], out: Path, capsys: Any) -> None:
    """Every refusal names a file, and a file that holds nothing or no text is refused wherever it lies."""
    names = {path.name for path in raw.files}
    for path in raw.files:
        whole = path.read_bytes()
        for what, change in wrong.items():
            path.write_bytes(change(whole))
            said = outcome(raw, out, capsys)
            assert not said or any(name in said for name in names), (path.name, what, said)
            assert said or path.name in UNREAD or what not in NO_TEXT, (path, what)
        path.unlink()
        for _ in range(2):  # there is none, and then a folder in its place
            assert path.name in outcome(raw, out, capsys) or path.name in {*OPTIONAL, *UNREAD}, path.name
            path.mkdir(exist_ok=True)
        path.rmdir()
        path.write_bytes(whole)
    assert not outcome(raw, out, capsys), "all files are as they were"


@pytest.mark.parametrize("name", SAMPLED)
def test_every_refusal_names_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named(SMALL[name](tmp_path / "raw"), WRONG, tmp_path / "store", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_refusal_of_more_names_a_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named(SMALL[name](tmp_path / "raw"), MORE_WRONG, tmp_path / "store", capsys)


def doubled(path: Path) -> None:
    """Append a log to itself."""
    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
        pl.concat([table, table]).write_parquet(path)
    else:
        text = path.read_bytes()
        has_header = path.suffix in (".csv", ".inter") or path.name == "log.tsv"
        path.write_bytes(text + (text.partition(b"\n")[2] if has_header else text))


@pytest.mark.parametrize("name", TIMED)
def test_a_log_that_stands_twice_is_counted_and_gives_the_same_store(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = SMALL[name](tmp_path / "raw")
    made(raw.main, tmp_path / "once", *raw.arguments)
    for log in raw.logs:
        doubled(raw.folder / log)
    capsys.readouterr()
    store = made(raw.main, tmp_path / "twice", *raw.arguments)
    once, twice = (files(tmp_path / each) for each in ("once", "twice"))
    assert {k: v for k, v in once.items() if k != "manifest.json"} == {
        k: v for k, v in twice.items() if k != "manifest.json"
    }
    counted = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  dropped: ")]
    assert any("twice" in line or "again" in line for line in counted), counted
    if name != "goodreads":  # which takes the last rating of a book
        kept = made(raw.main, tmp_path / "kept", *raw.arguments, "--keep_doubled")
        assert kept.manifest["made_with"]["keep_doubled"] and kept.manifest["kept"]
        assert "  kept: " in capsys.readouterr().out
        assert sum(map(len, map(kept.interactions, kept.splits))) > sum(
            map(len, map(store.interactions, store.splits))
        )


def known_clicks(store: Store, split: str) -> int:
    """How many clicks of a split are in their own history, one by one."""
    table = store.interactions(split)
    rows = zip(
        table.candidates.rows[table.labels == 1], table.candidates.values[table.labels == 1], strict=True
    )
    return sum(item in store.histories[slice(*store.spans[table.span[row]])] for row, item in rows)


@pytest.mark.parametrize("name", SAMPLED)
def test_every_store_tells_how_many_clicks_stand_in_their_own_history(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = SMALL[name](tmp_path / "raw")
    for log in raw.logs:
        doubled(raw.folder / log)
    keep = ["--keep_doubled"] * (bool(raw.logs) and name != "goodreads")
    store = made(raw.main, tmp_path / "store", *raw.arguments, *keep)
    said = capsys.readouterr().out
    for split in store.splits:
        facts = store.manifest["interactions"][split]
        assert ("clicked_before" in facts) is (split != "train" and facts["labelled"])
        if "clicked_before" in facts:
            count = known_clicks(store, split)
            assert facts["clicked_before"] == count
            assert f"{facts['positives']:,} clicked, {count:,} of them stand in their own history" in said
            assert (f"warning: {count / facts['positives']:.0%} of the clicks of {split}" in said) is (
                count > LARGE_SHARE * facts["positives"]
            )
    if name.startswith(("movielens", "tables")):
        facts = store.manifest["interactions"]["test"]
        assert facts["clicked_before"] == facts["positives"], "the last click is its own double"
