"""Files of JSON lines: torn and joined lines, blank ones, other values, cut files, in any blocks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from legorec.data.raw import lines
from legorec.data.raw.json_lines import by_name, json_columns, places, records
from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE

RULE = "it must hold user, rating"
TEXT = 'Said "user": "me", {"rating": 1}, \\ and "left'


def row(number: int, **others: Any) -> dict[str, Any]:
    return {"text": TEXT, "user": f"u{number}", "n": {"user": "nested"}, "rating": number % 5, **others}


def written(folder: Path, *found: str | bytes | dict[str, Any], end: bytes = b"\n") -> Path:
    """A file of lines: objects, or what stands in place of one."""
    texts = [json.dumps(each) if isinstance(each, dict) else each for each in found]
    path = folder / "log.json"
    path.write_bytes(b"".join((each.encode() if isinstance(each, str) else each) + end for each in texts))
    return path


def columns(path: Path) -> list[tuple[Any, ...]]:
    """Line number, user and rating of every line."""
    parts = list(json_columns(path, "user", "rating"))
    return pl.concat(parts).rows() if parts else []


def objects(path: Path) -> list[dict[str, Any]]:
    def parse(line: str) -> dict[str, Any] | None:
        try:
            return json.loads(line)
        except ValueError:
            return None

    return list(records(path, parse, "it must be an object"))


def said(path: Path) -> str:
    """What is wrong with the columns."""
    with pytest.raises(InputError) as refused:
        columns(path)
    return str(refused.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_are_passed_over_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, packed: bool, end: bytes
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    path = written(tmp_path, "", row(0), "", "  ", *map(row, range(1, 20)), "", end=end)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    expected = [(1 if n == 0 else 3, f"u{n}", str(n % 5)) for n in range(20)]
    expected = [(number + n + 1, user, rating) for n, (number, user, rating) in enumerate(expected)]
    assert columns(path) == expected, "not what texts and nested objects say"
    assert objects(path) == [row(n) for n in range(20)]
    assert list(json_columns(path, "user"))[0].schema == {LINE: pl.Int64, "user": pl.String}


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert columns(written(tmp_path)) == [] == objects(written(tmp_path))
    assert columns(written(tmp_path, "", " ")) == [] == objects(written(tmp_path, "", " "))


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    "torn",
    [
        '{"user": "u1", "rating": 5',
        '{"user": "u1", "rati',
        '"rating": 5}',
        '{"user": "u1", "ra{"user": "u2", "rating": 3}',
        '{"us{"user": "u2", "rating": 3}',
        '{"user": "u1", "rating": 5} {"user": "u2", "rating": 3}',
        '{"user": "u1", "rating": 5}, {"user": "u2", "rating": 3}',
        "{'user': 'u1', 'rating': 5}",
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_torn_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str, block: int) -> None:
    """Also where the next line would complete it, or where two lines became one."""
    monkeypatch.setattr(lines, "BLOCK", block)
    path = written(tmp_path, row(1), torn, row(2))
    assert said(path) == f"line 2: {RULE}; 1 malformed line in all"
    path = written(tmp_path, row(1), '{"user": "u1"', '"rating": 5}', row(2), torn)
    assert said(path) == f"line 2: {RULE}; 3 malformed lines in all"


def test_two_halves_of_a_line_are_not_joined(tmp_path: Path) -> None:
    two = '{"user": "a", "rating": 1}, {"user": "b", "rating": 2}'
    path = written(tmp_path, '{"user": "u1"', '"rating": 5}', two)
    assert said(path) == f"line 1: {RULE}; 3 malformed lines in all"


@pytest.mark.parametrize("value", [7, 7.5, -1, "7", "é\n\\", ""])
def test_a_number_is_as_good_as_a_text(tmp_path: Path, value: Any) -> None:
    """Ids are numbers in one release and texts in another."""
    assert columns(written(tmp_path, row(1, user=value, rating=value)))[0][1:] == (str(value), str(value))


@pytest.mark.parametrize("value", [None, ["u"], {"user": "u"}])
def test_other_values_are_malformed(tmp_path: Path, value: Any) -> None:
    assert said(written(tmp_path, row(1), row(2, user=value))) == f"line 2: {RULE}; 1 malformed line in all"


def test_a_key_that_is_missing_is_counted_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 200)
    others = [{"user": "u", "text": f'"rating": {n}'} if n % 3 == 1 else row(n) for n in range(3000)]
    assert said(written(tmp_path, *others)) == f"line 2: {RULE}; 1,000 malformed lines in all"


def test_what_json_may_hold_and_the_quick_reading_refuses(tmp_path: Path) -> None:
    """A number beyond all bounds in another key does not keep a line from being read."""
    path = written(tmp_path, row(1), '{"user": "a", "votes": 1e999, "rating": 2}', row(3))
    assert [each[1:] for each in columns(path)] == [("u1", "1"), ("a", "2"), ("u3", "3")]


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_text_of_another_encoding_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    latin = '{"user": "é", "rating": 1}'.encode("latin-1")
    path = written(tmp_path, "", row(1), latin, row(2))
    for read in (columns, objects):
        with pytest.raises(InputError, match=r"log\.json: line 3 is not utf-8 text"):
            read(path)
    assert said(written(tmp_path, *(json.dumps(row(n)).encode("utf-16") for n in range(2)))).startswith(
        "it is UTF-16; convert it: iconv"
    )


@pytest.mark.parametrize("left", [5, 400, -1, -8])
def test_a_packed_file_that_is_cut(tmp_path: Path, left: int) -> None:
    path = written(tmp_path, *map(row, range(500)))
    path.write_bytes(gzip.compress(path.read_bytes())[:left])
    for read in (columns, objects):
        with pytest.raises(InputError, match=r"log\.json: cannot be read .*fetch it again"):
            read(path)


def test_records_count_what_breaks_the_rule_and_leave_out_empty_objects(tmp_path: Path) -> None:
    path = written(tmp_path, row(1), "{}", row(2))
    assert objects(path) == [row(1), row(2)]
    path = written(tmp_path, row(1), "{", "", row(2), "{")
    with pytest.raises(
        InputError, match=r"log\.json: line 2: it must be an object; 2 malformed lines in all"
    ):
        objects(path)
    with pytest.raises(InputError, match="nowhere: there is no such file"):
        objects(tmp_path / "nowhere")


def test_places_and_order_do_not_depend_on_what_was_read_before() -> None:
    """Codes of a Categorical are given as values are met, in this process."""
    pl.Series(["z", "c", "a"], dtype=pl.Categorical)
    column = pl.Series(["b", "a", "c", "b", "y"], dtype=pl.Categorical)
    among = pl.Series(["c", "b", "z"], dtype=pl.Categorical)
    assert places(column, among).tolist() == [1, -1, 0, 1, -1]
    assert by_name(column).to_list() == ["a", "b", "c", "y"]
    assert places(by_name(column), by_name(column)).tolist() == [0, 1, 2, 3]
    nothing = pl.Series([], dtype=pl.Categorical)
    assert places(column, nothing).tolist() == [-1] * 5 and places(nothing, among).tolist() == []
