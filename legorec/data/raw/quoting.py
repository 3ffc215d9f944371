"""Quotes in tables of text: whether a file was written with them, and the rows of one that was.

A writer of CSV puts a cell that holds a quote into quotes, with those inside doubled. Whoever writes cells as
they are leaves single quotes in them. Where neither can be told, the file is refused.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from legorec.data.raw.lines import LONGEST_LINE, InputError, RawFile, blocks
from legorec.data.raw.readers import LINE, BadLines, wrong_count

Quoting = Literal["auto", "double", "none"]
QUOTINGS = ("auto", "double", "none")
ROWS = 100_000
IN_QUOTES, DOUBLED = r'^"(?:[^"]|"")*"$', r'^".*"".*"$'


def is_quoted(
    file: RawFile,
    separator: str,
    encoding: str = "utf-8",
    quoting: Quoting = "auto",
    doubtful: bool | None = None,
) -> bool:
    """Whether quotes around the cells of a file belong to its format.

    Args:
        quoting: ``double`` and ``none`` say it; ``auto`` looks into the file.
        doubtful: the answer where the cells do not show it; None refuses the file.
    Raises:
        InputError: it cannot be told, with the lines that speak for each; or quoted cells are apart by more
            than one character.
    """
    if quoting == "double" and len(separator) != 1:
        raise InputError(f"{file.label}: quoted cells are apart by one character, got {separator!r}")
    if quoting != "auto" or len(separator) != 1:
        return quoting == "double"
    if separator == ",":
        return any('"' in text for _, text in blocks(file, encoding))
    found = _kinds_of_cells(file, separator, encoding)
    quoted = found["doubled"] or found["wrapped"]
    if quoted is None:
        return False
    if found["naked"] is None and (found["doubled"] or found["header"]):
        return True
    if found["naked"] and not _reads_as_csv(file, separator, encoding):
        return False
    if doubtful is not None:
        return doubtful
    other = f"one in line {found['naked']} holds one and does not" if found["naked"] else "holds none itself"
    raise InputError(
        f"{file.label}: a cell in line {quoted} stands in quotes, and {other}; say with --quoting double "
        "that quotes belong to the format, with --quoting none that they are text, or write it as CSV"
    )


def quoted_rows(
    file: RawFile,
    columns: Sequence[str],
    separator: str,
    encoding: str = "utf-8",
    more_columns: bool = False,
    skip_lines: int = 0,
) -> Iterator[pl.DataFrame]:
    """As ``read_rows``, of a file whose cells may stand in quotes: frames of texts and first line numbers.

    A cell in quotes may hold separators and ends of lines; a doubled quote in it is one.

    Raises:
        InputError: a quote is not closed or followed by text, or a row has a wrong number of columns.
    """
    bad, rows = BadLines(file.label), []
    wanted, least = len(columns), more_columns
    for place, (number, row) in enumerate(csv_rows(file, separator, encoding)):
        if place < skip_lines:
            continue
        if len(row) < wanted or (len(row) > wanted and not more_columns):
            bad.add(pl.Series([number]), wrong_count(wanted, len(row), least))
        elif not bad.count:
            rows.append([*row[:wanted], number])
        if len(rows) == ROWS:
            yield _frame(rows, columns)
            rows = []
    bad.raise_any()
    if rows:
        yield _frame(rows, columns)


def csv_rows(file: RawFile, separator: str, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line in which each begins; blank lines are skipped."""
    lines = csv.reader(_lines(file, encoding), delimiter=separator, strict=True)
    first, limit = 1, csv.field_size_limit(LONGEST_LINE)  # 128 KiB, which an article may exceed
    try:
        for row in lines:
            if row:
                yield first, row
            first = lines.line_num + 1
    except csv.Error as problem:
        raise InputError(
            f"{file.label}: line {first}: {problem}; where quotes are text, say so (--quoting none)"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _lines(file: RawFile, encoding: str) -> Iterator[str]:
    for _, text in blocks(file, encoding):
        *whole, rest = text.split("\n")
        yield from (f"{line}\n" for line in whole)
        if rest:
            yield rest


def _frame(rows: list[list], columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String) | {LINE: pl.Int64}, orient="row")


def _kinds_of_cells(file: RawFile, separator: str, encoding: str) -> dict[str, int | None]:
    """The line of the first cell with quotes of each kind, None if there is none.

    ``doubled``: in quotes, with doubled ones inside; ``wrapped``: in quotes, with none inside; ``naked``: not
    in quotes. ``header`` is 1 where the whole first line is in quotes.
    """
    result: dict[str, int | None] = dict.fromkeys(("doubled", "wrapped", "naked", "header"))
    for number, text in blocks(file, encoding):
        if number == 1:
            cells = pl.Series(text.partition("\n")[0].rstrip("\r").split(separator))
            result["header"] = 1 if cells.str.contains(IN_QUOTES).all() else None
        if '"' not in text:
            continue
        lines = pl.DataFrame({"cell": text.split("\n")}).with_row_index(LINE, number)
        has_quote = pl.col("cell").str.contains('"', literal=True)
        split = lines.filter(has_quote).with_columns(
            pl.col("cell").str.strip_suffix("\r").str.split(separator)
        )
        cells_in = split.explode("cell").filter(has_quote)
        wrapped, doubled = (pl.col("cell").str.contains(each) for each in (IN_QUOTES, DOUBLED))
        kinds = {"doubled": wrapped & doubled, "wrapped": wrapped & ~doubled, "naked": ~wrapped}
        for kind, is_such in kinds.items():
            first = cells_in.filter(is_such)[LINE]
            result[kind] = result[kind] or (int(first[0]) if len(first) else None)
    return result


def _reads_as_csv(file: RawFile, separator: str, encoding: str) -> bool:
    """Whether a file keeps the rules of quoted cells, with as many columns in every row."""
    try:
        return len({len(row) for _, row in csv_rows(file, separator, encoding)}) == 1
    except InputError:
        return False
