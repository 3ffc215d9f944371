"""Recommendations for the histories of a file, block by block, into another file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from legorec.data.layout import nearest
from legorec.data.raw.fields import lists_as_json, lists_of
from legorec.data.raw.lines import InputError, raw_file, unpacked
from legorec.data.raw.quoting import is_quoted, quoted_rows
from legorec.data.raw.readers import LINE, read_rows
from legorec.data.raw.table_files import first_cells, read_parquet
from legorec.files.temporary import temporary_beside
from legorec.files.whole import written_whole
from legorec.recipes.inputs.asked_histories import HISTORY, ROW, USER
from legorec.recipes.outputs.recommendations import ANSWER, BY_POPULARITY, lists_as_frame

BLOCK = 8192  # histories that are in memory at a time
SEPARATORS = {".csv": ",", ".tsv": "\t"}
INPUTS, OUTPUTS = (".parquet", ".csv", ".tsv", ".jsonl"), (".parquet", ".csv", ".jsonl")
PARTS = ".parts"


class Answered(NamedTuple):
    """What a file of histories came to."""

    histories: int
    rows: int
    by_popularity: int
    skipped: int


def answer_file(
    trained: Any,
    histories: Path,
    out: Path,
    k: int,
    *,
    unknown: str = "error",
    check: Callable[[], None] = lambda: None,
) -> Answered:
    """Write the ``k`` best items for each history of a file; ``out`` appears whole or not at all.

    The file has a column ``history``: lists of raw ids, oldest first, or texts with blanks between ids. Its
    other columns are carried through, in front of ``item``, ``score``, ``rank`` and ``by``; where there is
    none, ``row`` counts the histories from 0. A column ``user`` is used where the model knows its users.

    Args:
        trained: what ``legorec.load`` gives.
        check: called before each block; may raise to stop.

    Raises:
        ValueError: the file cannot be read, or a history cannot be answered.
        WriteError: the disk is full, or may not be written.
    """
    for path, known in ((histories, INPUTS), (out, OUTPUTS)):
        if path.suffix not in known:
            raise ValueError(f"{path}: its name must end in {', '.join(known)}")
    total = Answered(0, 0, 0, 0)
    with written_whole(out) as partial:
        writer = _Writer(partial, out.suffix)
        try:
            for block in blocks_of(histories):
                check()
                asked = _asked(block, histories, trained, total.histories)
                done, table = _answered(trained, asked, k, unknown)
                writer.add(table)
                total = Answered(*(map(sum, zip(total, done, strict=True))))
            if not total.histories:
                raise ValueError(f"{histories}: it holds no history")
            writer.finish()
        finally:
            writer.clear()
    return total


def blocks_of(path: Path) -> Iterator[pl.DataFrame]:
    """The rows of a table in a file, ``BLOCK`` at a time.

    Raises:
        InputError: it is missing or malformed.
    """
    file = raw_file(path)
    if path.suffix == ".parquet":
        return _parquet_blocks(path)
    if path.suffix == ".jsonl":
        return _even(_json_blocks(path))
    separator = SEPARATORS[path.suffix]
    quoted = is_quoted(file, separator, "utf-8", "auto", None)
    names = first_cells(file, separator, quoted=quoted)
    read = quoted_rows if quoted else read_rows
    return _even(
        each.drop(LINE, strict=False) for each in read(file, names, separator, "utf-8", skip_lines=1)
    )


def _parquet_blocks(path: Path) -> Iterator[pl.DataFrame]:
    try:
        count = int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except Exception:  # polars has many exceptions for this, and none names the file
        read_parquet(raw_file(path), path)
        raise
    for start in range(0, count, BLOCK):
        yield pl.scan_parquet(path).slice(start, BLOCK).collect()


def _json_blocks(path: Path) -> Iterator[pl.DataFrame]:
    kinds: dict[str, Any] | None = None
    for number, text in unpacked(path):
        lines = text.strip()
        if not lines:
            continue
        try:
            block = pl.read_ndjson(lines.encode(), schema=kinds, infer_schema_length=None)
        except Exception as problem:  # polars has many exceptions for this, and none names the file
            said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise InputError(f"{path}: not readable as JSON lines, from line {number} on ({said})") from None
        kinds = kinds or dict(block.schema)
        yield block


def _even(tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows, ``BLOCK`` at a time at most."""
    for table in tables:
        for start in range(0, len(table), BLOCK):
            yield table.slice(start, BLOCK)


def _asked(block: pl.DataFrame, path: Path, trained: Any, done: int) -> pl.DataFrame:
    """Histories as lists of texts, and the columns that are carried through, one at least."""
    if HISTORY not in block.columns:
        raise InputError(f"{path}: it has no column `{HISTORY}`; {nearest(HISTORY, block.columns)}")
    if taken := [name for name in ANSWER if name in block.columns]:
        raise InputError(f"{path}: a column '{taken[0]}' would be there twice; give it another name")
    lists = lists_of(block, HISTORY, str(path), " ", trained.data.store.items.ids.series()).fill_null([])
    block = block.drop(HISTORY)
    if not block.width:
        block = pl.DataFrame({ROW: pl.arange(done, done + len(lists), eager=True)})
    return block.with_columns(lists.alias(HISTORY))


def _answered(trained: Any, asked: pl.DataFrame, k: int, unknown: str) -> tuple[Answered, pl.DataFrame]:
    users = asked[USER].cast(pl.String).to_list() if USER in asked.columns else None
    found = trained.recommend(asked[HISTORY], k, users=users, unknown=unknown)
    table = lists_as_frame(found, asked.drop(HISTORY))
    popular = sum(each.by == BY_POPULARITY for each in found)
    return Answered(len(found), len(table), popular, sum(each.skipped for each in found)), table


class _Writer:
    """A table that grows at its end; of Parquet, parts are kept beside the file until all are there."""

    def __init__(self, file: Path, form: str) -> None:
        self.file, self.form = file, form
        self.parts = temporary_beside(file.with_name(file.name + PARTS))
        self.count = 0
        if form == ".parquet":
            self.parts.mkdir()
        else:
            file.touch()

    def add(self, table: pl.DataFrame) -> None:
        if self.form == ".parquet":
            table.write_parquet(self.parts / f"{self.count:09d}.parquet")
        else:
            with self.file.open("ab") as end:
                if self.form == ".csv":
                    lists_as_json(table).write_csv(end, include_header=not self.count)
                else:
                    table.write_ndjson(end)
        self.count += 1

    def finish(self) -> None:
        if self.form == ".parquet":
            pl.scan_parquet(sorted(self.parts.iterdir())).sink_parquet(self.file)

    def clear(self) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)
