"""A UniTok depot, version 3 or 4, as columns of token ids with their vocabularies.

Version 3 (as released by ONCE): ``data.npy``, ``meta.data.json``, ``tok.<vocabulary>.dat``.
Version 4 (Legommenders, RecBench): ``data.pkl``, ``meta.json``, ``<vocabulary>.vocab``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.layout import check_name, nearest
from legorec.data.ragged import Ragged
from legorec.data.raw.lines import InputError
from legorec.data.safe_pickle import load_npy, load_pickle
from legorec.files.json_text import parse_json


@dataclass(frozen=True)
class DepotColumn:
    """One column of a depot, as its meta file describes it."""

    name: str
    vocabulary: str
    holds_lists: bool
    tokenizer: str = ""  # the class that made it, by its name in version 4: entity, entities, bert
    padded: bool = False


class Depot:
    """An open depot: columns of ids. A vocabulary is read on demand.

    Args:
        key: the column that identifies the rows.
        sizes: how many tokens each vocabulary must have.
        data: the values of each column.
    Raises:
        InputError: a part is missing or malformed; names the folder.
    """

    def __init__(
        self,
        path: Path,
        version: int,
        key: str,
        columns: Mapping[str, DepotColumn],
        sizes: Mapping[str, int | None],
        data: Any,
    ) -> None:
        self.path, self.version, self.key = path, version, key
        self.columns, self._sizes, self._data = columns, sizes, data
        self._words: dict[str, pl.Series] = {}
        if not isinstance(data, dict) or not all(isinstance(each, list) for each in data.values()):
            raise InputError(f"{path}: the data must be a mapping of columns to their values")
        if key not in columns:
            raise InputError(
                f"{path}: one column must be the key, which numbers the rows; the meta file names none"
            )
        for name in columns:
            if name not in data:
                raise InputError(f"{path}: the data lack the column '{name}'; {nearest(name, data)}")
            if len(data[name]) != len(self):
                raise InputError(
                    f"{path}: every column must have one value for each row; '{name}' has "
                    f"{len(data[name]):,}, '{key}' has {len(self):,}"
                )

    @classmethod
    def open(cls, path: Path) -> Depot:
        """Read the meta file and the data of a depot."""
        # A depot that was upgraded in place has the files of both versions; the new ones are complete.
        files = (_file(path, name) for name in ("meta.json", "meta.data.json"))
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise InputError(f"{path}: there is no UniTok depot here: no meta.json or meta.data.json")
        try:
            meta = parse_json(file.read_bytes())
            version = str(meta["version"])
            if version.startswith("unidep-v4"):
                described = _version_4(meta)
                return cls(path, 4, *described, load_pickle(_file(path, "data.pkl")))
            if version.startswith(("UniDep-", "v2.", "v3.")):
                return cls(path, 3, *_version_3(meta), load_npy(_file(path, "data.npy")))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as problem:
            raise InputError(
                f"{file}: not the meta file of a depot ({type(problem).__name__}: {problem})"
            ) from None
        raise InputError(f"{file}: a depot must be of UniTok 3 or 4, got the version '{version}'")

    def __len__(self) -> int:
        return len(self._data[self.key])

    def column(self, name: str) -> DepotColumn:
        """The description of a column."""
        if name not in self.columns:
            raise InputError(f"{self.path}: there is no column '{name}'; {nearest(name, self.columns)}")
        return self.columns[name]

    def rows(self, name: str) -> Ragged:
        """The ids (int32) of a column; each row has exactly one if the column does not hold lists."""
        column, values = self.column(name), self._data[name]
        if column.padded:
            raise InputError(
                f"{self.path}: the column '{name}' is padded, and padding looks like the token 0; "
                "write the depot again without padding"
            )
        lengths = np.ones(len(values), dtype=np.int64)
        try:
            if column.holds_lists:
                lengths = np.fromiter(map(len, values), np.int64, len(values))
                values = list(chain.from_iterable(values))
            ids = np.array(values) if values else np.empty(0, np.int64)
        except (TypeError, ValueError):
            ids = np.empty((0, 0))
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            kind = "lists of ids" if column.holds_lists else "ids"
            raise InputError(f"{self.path}: the column '{name}' must hold only {kind}")
        size = len(self.words(column.vocabulary))
        least, most = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
        if least < 0 or most >= size:
            raise InputError(
                f"{self.path}: the ids of '{name}' must be below {size:,}, the size of the vocabulary "
                f"'{column.vocabulary}', and not negative; got {least if least < 0 else most}"
            )
        return Ragged.from_lengths(ids.astype(np.int32), lengths)

    def words(self, vocabulary: str) -> pl.Series:
        """The tokens of a vocabulary, in order of their ids."""
        if vocabulary not in self._words:
            check_name(vocabulary, "vocabulary")
            words = self._read_words(vocabulary)
            size = self._sizes.get(vocabulary)
            if size is not None and len(words) != size:
                raise InputError(
                    f"{self.path}: the vocabulary '{vocabulary}' must have {size:,} tokens, as the meta file "
                    f"says, got {len(words):,}; all ids after the difference would mean something else"
                )
            self._words[vocabulary] = pl.Series(vocabulary, words, dtype=pl.String)
        return self._words[vocabulary]

    def values(self, name: str) -> pl.Series:
        """A column as texts, or as lists of texts if it holds lists."""
        rows, words = self.rows(name), self.words(self.column(name).vocabulary)
        return list_series(rows, words) if self.column(name).holds_lists else words.gather(rows.values)

    def _read_words(self, vocabulary: str) -> list[str]:
        if self.version == 4:
            words = load_pickle(_file(self.path, f"{vocabulary}.vocab"))
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise InputError(f"{self.path / vocabulary}.vocab: must hold a list of texts")
            return words
        file = _file(self.path, f"tok.{vocabulary}.dat")
        try:
            *lines, rest = file.read_bytes().decode().replace("\r\n", "\n").split("\n")
        except (FileNotFoundError, UnicodeDecodeError) as problem:
            raise InputError(f"{file}: not a readable vocabulary ({problem})") from None
        return [*lines, rest] if rest else lines


def _file(path: Path, name: str) -> Path:
    """A file of a depot; links are refused, because a depot comes from others."""
    if (path / name).is_symlink():
        raise InputError(f"{path / name}: a symbolic link; the files of a depot must be files")
    return path / name


def list_series(rows: Ragged, words: pl.Series) -> pl.Series:
    """Rows of ids as lists of words; an empty row is null."""
    frame = pl.DataFrame({"row": rows.rows, "word": words.gather(rows.values)})
    lists = frame.group_by("row", maintain_order=True).agg("word")["word"]
    filled = rows.lengths > 0
    places = np.where(filled, np.cumsum(filled) - 1, -1)
    return lists.gather(pl.Series(places).replace(-1, None))


_Described = tuple[str, dict[str, DepotColumn], dict[str, int | None]]


def _version_4(meta: Any) -> _Described:
    tokenizers = {each["tokenizer_id"]: each for each in meta["tokenizers"]}
    columns, keys = {}, []
    for each in meta.get("features") or meta["jobs"]:
        if each["order"] < 0:  # declared but never tokenized
            continue
        made_by = tokenizers[each["tokenizer"]]
        holds_lists = each["truncate"] is not None
        name = each["name"]
        columns[name] = DepotColumn(name, made_by["vocab"], holds_lists, made_by["classname"].lower())
        keys += [name] * bool(each["key"])
    return (
        keys[0] if len(keys) == 1 else "",
        columns,
        {each["name"]: each.get("vocab_size") for each in meta["vocabularies"]},
    )


def _version_3(meta: Any) -> _Described:
    columns = {}
    for name, each in (meta.get("cols") or meta["col_info"]).items():
        vocabulary = each.get("voc") or each["vocab"]
        holds_lists = each.get("max_length") is not None
        columns[name] = DepotColumn(name, vocabulary, holds_lists, padded=bool(each.get("padding")))
    vocabularies = meta.get("vocs") or meta["vocab_info"]
    return meta["id_col"], columns, {name: each["size"] for name, each in vocabularies.items()}
