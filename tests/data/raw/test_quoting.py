"""Quotes of the format and quotes of the text: told apart in any delimited file, or refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from legorec.data.raw import quoting as module
from legorec.data.raw.lines import InputError, raw_file
from legorec.data.raw.quoting import csv_rows, is_quoted
from legorec.data.raw.readers import LINE
from legorec.data.raw.table_files import read_table

CELLS = st.text("aé1.\" ',;", min_size=1, max_size=4)
TABLES = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)
SEPARATORS = {"\t": "a.tsv", ",": "a.csv", ";": "a.txt", "|": "a.txt"}


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def by_a_writer(rows: list, separator: str, how: int, end: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=how, lineterminator=end).writerows(rows)  # type: ignore
    return text.getvalue()


@settings(max_examples=40)
@example([("1", ";")], ";", csv.QUOTE_MINIMAL, "\n")
@given(
    TABLES,
    st.sampled_from(sorted(SEPARATORS)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_writer_of_csv_wrote_is_read(tmp_path_factory, rows, separator, how, end):
    """Whatever the separator, quotes of the format are gone and those of the text are there."""
    folder = tmp_path_factory.mktemp("quoted")
    text = by_a_writer([("user", "item"), *rows], separator, how, end)
    path = written(folder / SEPARATORS[separator], text)
    expected = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String}, orient="row")
    assert read_table(path, separator=separator, quoting="double").drop(LINE).equals(expected)
    try:
        assert read_table(path, separator=separator).drop(LINE).equals(expected)
    except InputError as refused:  # a quoted cell held the separator
        assert "--quoting double" in str(refused)
        assert any(separator in cell for row in rows for cell in row)


def test_quotes_that_are_text_stay_text(tmp_path):
    raw = 'id\ttitle\n1\t"Hamlet" is a play\n2\tthe "best" of\n3\t"To be"\n4\t"Say ""no"""\n'
    titles = ['"Hamlet" is a play', 'the "best" of', '"To be"', '"Say ""no"""']
    path = written(tmp_path / "a.tsv", raw)
    assert read_table(path)["title"].to_list() == titles, "no reader of CSV takes the first of them"
    assert read_table(path, quoting="none")["title"].to_list() == titles
    with pytest.raises(InputError, match=r"a\.tsv: line 2: .*expected after.*--quoting none"):
        read_table(path, quoting="double")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('1\t"Say ""no"""\n2\tthe "best" of\n', "line 2 stands in quotes, and one in line 3 holds one"),
        ('1\tOthello\n2\t"Hamlet"\n', "line 3 stands in quotes, and holds none itself"),
    ],
)
def test_what_may_be_either_is_refused_until_it_is_said(tmp_path, lines, message):
    path = written(tmp_path / "a.tsv", f"id\ttitle\n{lines}")
    with pytest.raises(InputError, match=rf"a\.tsv: a cell in {message}.*--quoting double.*--quoting none"):
        read_table(path)
    double, none = (read_table(path, quoting=each)["title"].to_list() for each in ("double", "none"))
    assert none == [line.partition("\t")[2] for line in lines.splitlines()] and double != none
    assert [is_quoted(raw_file(path), "\t", doubtful=each) for each in (True, False)] == [True, False]


def test_quotes_need_a_separator_of_one_character(tmp_path):
    path = written(tmp_path / "a.dat", 'x::y\n"1"::2\n')
    assert read_table(path, separator="::").rows() == [('"1"', "2", 2)]
    with pytest.raises(InputError, match=r"a\.dat: quoted cells are apart by one character, got '::'"):
        read_table(path, separator="::", quoting="double")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_cell_may_be_as_long_as_a_line(tmp_path, name, monkeypatch):
    """Articles are longer than the 128 KiB that Python's reader allows."""
    separator = "," if name == "a.csv" else "\t"
    body = 'said "so"\n' * 40_000
    path = written(tmp_path / name, by_a_writer([("id", "body"), ("1", body)], separator, 0, "\n"))
    limit = csv.field_size_limit()
    assert read_table(path, quoting="double")["body"].to_list() == [body]
    assert csv.field_size_limit() == limit
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    with pytest.raises(InputError, match=rf"{name}: line 2: field larger than field limit \(1000\)"):
        read_table(path, quoting="double")


def test_a_row_is_numbered_by_the_line_in_which_it_begins(tmp_path):
    path = written(tmp_path / "a.csv", 'x,y\n\n"1\n1",2\r\n3,"4\n"\n')
    assert list(csv_rows(raw_file(path), ",")) == [(1, ["x", "y"]), (3, ["1\n1", "2"]), (5, ["3", "4\n"])]
    with pytest.raises(InputError, match=r"b\.csv: line 4: it must have 2 columns, got 1"):
        read_table(written(tmp_path / "b.csv", 'x,y\n"1\n1",2\n3\n'))
    with pytest.raises(InputError, match=r"c\.csv: line 3: unexpected end of data"):
        read_table(written(tmp_path / "c.csv", 'x,y\n1,2\n3,"4\n5,6\n7,8\n'))


def test_other_encodings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('x,y\n"é","ñ"\n'.encode("latin-1"))
    assert read_table(path, encoding="latin-1").rows() == [("é", "ñ", 2)]
    with pytest.raises(
        InputError, match=r"a\.csv: line 2 is not utf-8 text; convert it .iconv., or give --enc"
    ):
        read_table(path)
