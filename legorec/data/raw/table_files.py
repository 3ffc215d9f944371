"""Reading a table from a file: CSV, TSV, JSON lines, a JSON list or Parquet, plain or packed."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from legorec.data.raw.lines import InputError, RawFile, blocks, plain_name, raw_file
from legorec.data.raw.quoting import Quoting, csv_rows, is_quoted, quoted_rows
from legorec.data.raw.readers import BadLines, as_one, first_line, need_columns, read_rows

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")  # a .json may also hold one list
NOT_AN_OBJECT = "it must be a JSON object"


def read_table(
    path: Path,
    header: bool = True,
    separator: str | None = None,
    encoding: str = "utf-8",
    quoting: Quoting = "auto",
) -> pl.DataFrame:
    """A table, in the format that the ending of its name says; ``items.csv.gz`` is a packed CSV.

    Delimited files give String columns and ``LINE``; without a header the columns are called 1, 2, 3 and so
    on. In CSV a value may be quoted with ``"``; whether in TSV is told from the file, see ``is_quoted``.

    Raises:
        InputError: the file is missing or malformed, or its format is unknown; names the file and, where
            there is one, the line.
    """
    file, ending = raw_file(path), Path(plain_name(path)).suffix.lower()
    if ending == ".parquet":
        return read_parquet(file, path)
    if ending in JSON_LINES and separator is None:
        return _read_json(file, ending, encoding)
    separator = separator or SEPARATORS.get(ending)
    if separator is None:
        raise InputError(
            f"{path}: give --separator, or a file ending in .csv, .tsv, .txt, .jsonl, .json or .parquet"
        )
    return read_delimited(file, separator, header, encoding, quoting)


def read_delimited(
    file: RawFile,
    separator: str,
    header: bool = True,
    encoding: str = "utf-8",
    quoting: Quoting = "auto",
    doubtful: bool | None = None,
) -> pl.DataFrame:
    """A delimited file: String columns and ``LINE``; for ``doubtful`` see ``is_quoted``."""
    quoted = is_quoted(file, separator, encoding, quoting, doubtful)
    cells = first_cells(file, separator, encoding, quoted)
    names = cells if header else [str(place + 1) for place in range(len(cells))]
    if len(set(names)) != len(names):
        raise InputError(f"{file.label}: a column name occurs twice in the first line")
    read = quoted_rows if quoted else read_rows
    try:
        return as_one(read(file, names, separator, encoding, skip_lines=int(header)), names)
    except InputError as problem:
        if quoted or quoting != "auto" or not any('"' in text for _, text in blocks(file, encoding)):
            raise
        way_out = "where quotes belong to the format, say so (--quoting double)"
        raise InputError(f"{problem}; {way_out}") from None


def first_cells(file: RawFile, separator: str, encoding: str = "utf-8", quoted: bool = False) -> list[str]:
    """The cells of the first line."""
    if quoted:
        return next((row for _, row in csv_rows(file, separator, encoding)), [])
    if not (line := first_line(file, encoding)):
        raise InputError(f"{file.label}: its first line is empty")
    return line.split(separator)


def read_parquet(file: RawFile, path: Path) -> pl.DataFrame:
    """A Parquet file, which may be packed.

    Raises:
        InputError: it is none.
    """
    try:
        if plain_name(path) == path.name:
            return pl.read_parquet(path)
        with file.open() as stream:
            return pl.read_parquet(BytesIO(stream.read()))
    except Exception as problem:  # polars has many exceptions for this, and none names the file
        raise InputError(f"{path}: not a readable Parquet file ({first_of(problem)})") from None


def scan_parquet(path: Path, *columns: str) -> pl.LazyFrame:
    """Some columns of a Parquet file, or all of them, unread.

    Raises:
        InputError: it is missing, not Parquet, or lacks a column.
    """
    raw_file(path)
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
    except Exception as problem:  # polars has many exceptions for this, and none names the file
        raise InputError(f"{path}: not a readable Parquet file ({first_of(problem)})") from None
    need_columns(pl.DataFrame(schema=schema), columns, str(path))
    return table.select(columns) if columns else table


def first_of(problem: Exception) -> str:
    """The first line of what a library says."""
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


def _read_json(file: RawFile, ending: str, encoding: str) -> pl.DataFrame:
    if ending != ".json" and encoding == "utf-8":
        with suppress(Exception):  # packed, with a mark of its encoding, or wrong: seen below
            return pl.read_ndjson(Path(file.label), infer_schema_length=None)
    text = "".join(block for _, block in blocks(file, encoding))
    is_list = ending == ".json" and text.lstrip()[:1] == "["
    try:
        read = pl.read_json if is_list else pl.read_ndjson
        return read(text.encode(), infer_schema_length=None)
    except Exception:  # polars has many exceptions for this, and none names the line
        raise InputError(_wrong_list(file, text) if is_list else _wrong_lines(file, text)) from None


def _wrong_list(file: RawFile, text: str) -> str:
    """What is wrong with a list of objects."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as problem:
        return f"{file.label}: not a readable JSON list ({first_of(problem)})"
    if wrong := [place for place, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        return f"{file.label}: element {wrong[0]} of its list must be an object; {len(wrong):,} are not"
    differ = _kinds_differ(enumerate(rows, 1), "element")
    return f"{file.label}: {differ or 'its list is empty or cannot be read'}"


def _wrong_lines(file: RawFile, text: str) -> str:
    """What is wrong with lines of objects."""
    bad, rows = BadLines(file.label), []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = _parsed(line)
            if isinstance(row, dict):
                rows.append((number, row))
            else:
                bad.add(pl.Series([number]), NOT_AN_OBJECT)
    try:
        bad.raise_any()
    except InputError as problem:
        return str(problem)
    if not rows:
        return f"{file.label}: it holds no line"
    return f"{file.label}: {_kinds_differ(rows, 'line') or 'its lines cannot be read together'}"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _kinds_differ(rows: Any, unit: str) -> str:
    """Where the values of a key are of two kinds."""
    seen: dict[str, tuple[int, str]] = {}
    for number, row in rows:
        for key, value in row.items():
            if value is not None:
                kind = _kind(value)
                first, other = seen.setdefault(key, (number, kind))
                if kind != other:
                    return (
                        f"the {unit}s differ in the types of their values: '{key}' holds {other} in {unit} "
                        f"{first} and {kind} in {unit} {number}"
                    )
    return ""


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number")
