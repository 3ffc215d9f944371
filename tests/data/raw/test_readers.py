"""Tables in four formats give the same rows; lines that do not fit are counted and the first is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legorec.data.raw import lines
from legorec.data.raw.lines import InputError, raw_file
from legorec.data.raw.readers import LINE, need_columns, numbers_of, read_frame, read_rows
from legorec.data.raw.table_files import read_table

CELLS = st.text("aé1.\" '", min_size=1, max_size=4)
TABLES = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@settings(max_examples=40)
@given(TABLES, st.sampled_from(["\n", "\r\n"]))
def test_what_was_written_is_read(tmp_path_factory, rows, end):
    folder = tmp_path_factory.mktemp("tables")
    expected = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String}, orient="row")
    tsv = end.join("\t".join(row) for row in [("user", "item"), *rows])
    found = read_table(written(folder / "a.tsv", tsv + end), quoting="none")
    assert found.drop(LINE).equals(expected) and found[LINE].to_list() == list(range(2, len(rows) + 2))
    plain = written(folder / "b.tsv", end.join("\t".join(row) for row in rows))
    bare = read_table(plain, header=False, quoting="none")
    assert bare.columns == ["1", "2", LINE] and bare.rows() == [(*row, n) for n, row in enumerate(rows, 1)]
    quoted = [[cell.replace('"', '""') for cell in row] for row in rows]
    csv = end.join(f'"{user}","{item}"' for user, item in [("user", "item"), *quoted])
    assert read_table(written(folder / "c.csv", csv)).drop(LINE).equals(expected)
    expected.write_ndjson(folder / "d.jsonl")
    expected.write_parquet(folder / "e.parquet")
    (folder / "f.json").write_text(json.dumps(expected.to_dicts()))
    for name in ("d.jsonl", "e.parquet", "f.json"):
        assert read_table(folder / name).equals(expected)
        packed = folder / f"{name}.gz"
        packed.write_bytes(gzip.compress((folder / name).read_bytes()))
        assert read_table(packed).equals(expected)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_blocks_and_blank_lines_change_nothing(tmp_path, block, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK", block)
    path = written(tmp_path / "a", "\ufeffh1::h2\n\na::b\r\n\nc::d::more\n")
    file = raw_file(path)
    found = read_frame(file, ["x", "y"], "::", more_columns=True, skip_lines=1)
    assert found.rows() == [("a", "b", 3), ("c", "d", 5)]
    assert read_frame(raw_file(written(tmp_path / "b", "")), ["x"]).schema == {"x": pl.String, LINE: pl.Int64}
    with pytest.raises(
        InputError, match=rf"{path}: line 5: it must have 2 columns, got 3; 1 malformed line in all"
    ):
        list(read_rows(file, ["x", "y"], "::"))


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_malformed_lines_are_counted_and_the_first_is_told(tmp_path, block, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK", block)
    tsv = written(tmp_path / "a.tsv", "x\ty\n1\t2\n3\n4\t5\t6\n7\t8\n")
    with pytest.raises(
        InputError, match=rf"^{tsv}: line 3: it must have 2 columns, got 1; 2 malformed lines in all"
    ):
        read_table(tsv)
    csv = written(tmp_path / "a.csv", 'x,y\n"1",2\n3\n4,5,6\n')
    with pytest.raises(
        InputError, match=rf"^{csv}: line 3: it must have 2 columns, got 1; 2 malformed lines in all"
    ):
        read_table(csv)
    jsonl = written(tmp_path / "a.jsonl", '{"x": 1}\n\n[1]\n{"x"\n')
    with pytest.raises(
        InputError, match=rf"^{jsonl}: line 3: it must be a JSON object; 2 malformed lines in all"
    ):
        read_table(jsonl)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "\n1\t2\n", "its first line is empty"),
        ("a.tsv", "x\tx\n", "a column name occurs twice in the first line"),
        ("a.dat", "x\n", "give --separator, or a file ending in .csv, .tsv, .txt, .jsonl, .json or .parquet"),
        ("a.parquet", "no", "not a readable Parquet file"),
        ("a.csv", 'x,y\n"a,b\n', "line 2: unexpected end of data"),
        (
            "a.jsonl",
            '{"x": 1}\n\n{"x": [1]}\n',
            "the lines differ in the types of their values: 'x' holds a number in line 1 and a list in",
        ),
        ("a.jsonl", "\n", "it holds no line"),
        ("a.jsonl", '{"x": NaN}\n', "line 1: it must be a JSON object"),
        ("a.json", '[{"x": 1}, 2]', "element 2 of its list must be an object; 1 are not"),
        ("a.json", '[{"x": 1}', "not a readable JSON list"),
        ("a.json", '[{"x": 1}, {"x": {}}]', "'x' holds a number in element 1 and an object in element 2"),
        ("a.csv.gz", "x,y\n1\n", "line 2: it must have 2 columns, got 1"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, name, text, message):
    path = written(tmp_path / name, text)
    with pytest.raises(InputError) as told:
        read_table(path)
    assert str(told.value).startswith(str(path)) and message in str(told.value)
    with pytest.raises(InputError, match="nowhere.csv: there is no such file"):
        read_table(tmp_path / "nowhere.csv")


def test_a_separator_of_ones_own(tmp_path):
    assert read_table(written(tmp_path / "a.dat", "x|y\n1|2\n"), separator="|").rows() == [("1", "2", 2)]


def test_numbers_and_columns_are_checked():
    frame = pl.DataFrame({"price": ["1", "2.5e1", "-0"], LINE: [2, 3, 5]})
    assert numbers_of(frame, "price", "a.csv").to_list() == [1.0, 25.0, 0.0]
    for wrong in ("", "x", "nan", "inf", None):
        bad = frame.with_columns(price=pl.Series(["1", wrong, wrong]))
        with pytest.raises(
            InputError, match="^a.csv: line 3: price must be a number, got .*2 malformed lines"
        ):
            numbers_of(bad, "price", "a.csv")
        with pytest.raises(
            InputError, match="column 'price' must hold numbers: 2 of 3 values are none, e.g. "
        ):
            numbers_of(bad.drop(LINE), "price", "a.csv")
    need_columns(frame, ["price"], "a.csv")
    with pytest.raises(InputError, match="a.csv: there is no column 'prise'; did you mean 'price'"):
        need_columns(frame, ["price", "prise"], "a.csv")
    with pytest.raises(InputError, match="there is no column '#line'"):  # it is ours
        need_columns(frame, [LINE], "a.csv")
