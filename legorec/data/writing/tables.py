"""Items and users on their way into a store, column by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from legorec.data.layout import StoreError, save_arrays
from legorec.data.ragged import Ragged, offsets_of
from legorec.data.spelled_tokens import for_text
from legorec.data.strings import Strings
from legorec.data.text import BATCH, TokenizerChoice, encode, vocab_size
from legorec.data.writing.arrays import Blocks, write_arrays
from legorec.data.writing.columns import (
    Column,
    categories_of,
    column_of,
    encode_categories,
    encode_numbers,
    num_given,
)
from legorec.data.writing.progress import Progress
from legorec.data.writing.user_table import ID, UserTable
from legorec.data.writing.vocabularies import Vocabularies


class TableWriter:
    """One table: its frame is kept until it is known which rows training may see, then written.

    Args:
        file: where the frame is from, for messages.
        generated: how many of the last rows a language model invented.
    Raises:
        StoreError: a column is missing; an id is missing or occurs twice.
    """

    def __init__(
        self,
        name: str,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        id_column: str,
        file: str = "",
        generated: int = 0,
    ) -> None:
        self.name, self.generated = name, generated
        self.label = f"{file}: {name}" if file else name
        self.frame = frame
        self.columns = list(columns)
        names = [column.name.casefold() for column in columns]
        if twice := {part for part in names if names.count(part) > 1}:
            raise StoreError(
                f"{self.label}: field '{min(twice)}' is named twice (some disks know no capitals)"
            )
        for column in columns:
            column.of(frame)
        self.ids = column_of(frame, id_column).cast(pl.String).rename("id")
        without = self.ids.is_null() | (self.ids == "")
        if missing := int(without.sum()):
            row = int(without.arg_max() or 0) + 1
            raise StoreError(
                f"{self.label}: {missing:,} of {len(self.ids):,} rows have no id, the first is row {row:,}"
            )
        repeated = self.ids.filter(self.ids.is_duplicated())
        if len(repeated):
            raise StoreError(
                f"{self.label}: every id must occur once; {repeated.n_unique():,} occur several times, "
                f"e.g. '{repeated[0]}'"
            )
        self.enum = pl.Enum(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def grow(self, ids: pl.Series) -> None:
        """Add new ids, in order of appearance."""
        fresh = ids.drop_nulls().unique(maintain_order=True).rename("id")
        fresh = fresh.filter(fresh.cast(self.enum, strict=False).is_null())
        if len(fresh):
            self.ids = pl.concat([self.ids, fresh])
            self.enum = pl.Enum(self.ids)

    def write(
        self,
        folder: Path,
        vocabularies: Vocabularies,
        tokenizers: Sequence[TokenizerChoice],
        visible: np.ndarray | None,
        progress: Progress,
        more: Sequence[pl.Series] = (),
    ) -> dict[str, Any]:
        """Write the files of the table; returns its part of the manifest.

        Args:
            more: texts of another table, whose words are in the vocabulary of the items' texts too.
        """
        place = folder / self.name
        write_strings(place / "ids.safetensors", self.ids)
        if visible is not None:
            save_arrays(place / "visible.safetensors", {"visible": visible.view(np.uint8)})
        texts = [column for column in self.columns if column.kind == "text"]
        like = vocabularies.like
        if self.name == "items" and like is None:
            self._fit(more, vocabularies, tokenizers, visible)
        fields: list[dict[str, Any]] = []
        for column in self.columns:
            if column.kind == "text":
                text, own = _text(column, self.frame), vocabularies.of_text(self.name, column.name)
                fields += write_text(place, column.name, text, own, progress, column.tokens)
            else:
                progress.say(f"{self.name}: {column.name}")
                fields.append(write_column(place, column, self.columns, self.frame, vocabularies))
        return {
            "count": len(self),
            "visible": visible is not None,
            "fields": fields if like is None else like.in_order(self.name, fields),
            "texts": [column.name for column in texts],
            **({"generated": self.generated} if self.generated else {}),
        }

    def texts(self, visible: np.ndarray | None = None) -> list[pl.Series]:
        """The texts, of all rows or of the visible ones."""
        seen = self.frame if visible is None else self.frame.filter(pl.Series(visible))
        return [_text(column, seen) for column in self.columns if column.kind == "text"]

    def _fit(
        self,
        more: Sequence[pl.Series],
        vocabularies: Vocabularies,
        tokenizers: Sequence[TokenizerChoice],
        visible: np.ndarray | None,
    ) -> None:
        whole = [*self.texts(visible), *more]
        vocabularies.tokenizers = {
            choice.name: choice.build(chain.from_iterable(whole)) for choice in tokenizers
        }


def _text(column: Column, frame: pl.DataFrame) -> pl.Series:
    return column.of(frame).cast(pl.String).fill_null("")


def with_fields(
    users: TableWriter, table: UserTable | None, max_missing: float, dropped: Callable[[str, int], None]
) -> TableWriter:
    """The users with the fields of a table if there is one, in the order that they have.

    Args:
        dropped: is told of the rows of the table that are not used, by reason.
    """
    if table is None:
        return users
    frame, left_out = table.of_users(users.ids, max_missing)
    for what, count in left_out.items():
        dropped(what, count)
    return TableWriter("users", frame.with_columns(users.ids.rename(ID)), table.columns, ID)


def write_column(
    place: Path,
    column: Column,
    columns: Sequence[Column],
    frame: pl.DataFrame,
    vocabularies: Vocabularies,
) -> dict[str, Any]:
    """Write a field that is no text; returns its entry in the manifest.

    Args:
        columns: all of the table, some of which may share a vocabulary.
    """
    noted: dict[str, Any] = {}
    if column.kind == "number":
        rows, vocabulary, size = encode_numbers(column.of(frame)), None, 0
        if vocabularies.like is not None:
            noted = {"scale": vocabularies.like.scale(place.name, column.name).fact()}
    else:
        vocabulary = column.vocabulary or column.name
        shared = [part.of(frame) for part in columns if _vocabulary(part) == vocabulary]
        categories = vocabularies.add(vocabulary, categories_of(shared))
        rows, size = encode_categories(column.of(frame), categories), len(categories)
        if vocabularies.like is not None:
            vocabularies.left_out[column.name] = num_given(column.of(frame)) - len(rows.values)
    save_arrays(place / f"{column.name}.safetensors", {"values": rows.values, "offsets": rows.offsets})
    return field_facts(column.name, column.kind, rows.lengths, vocabulary, size) | noted


def write_text(
    place: Path,
    name: str,
    text: pl.Series,
    tokenizers: dict[str, Tokenizer],
    progress: Progress,
    tokens: Mapping[str, Ragged] | None = None,
) -> list[dict[str, Any]]:
    """Write a raw text and its tokenizations: those given in ``tokens``, else one by every tokenizer."""
    write_strings(place / f"{name}.text.safetensors", text)
    if tokens is not None:
        return [
            _save_tokens(place, name, key, tokenizers[key], [rows.values], rows.lengths)
            for key, rows in tokens.items()
        ]
    return [write_tokens(place, name, text, key, one, progress) for key, one in tokenizers.items()]


def write_strings(path: Path, column: pl.Series) -> None:
    """Write a text column as utf-8 bytes and offsets."""
    offsets = offsets_of(column.str.len_bytes().fill_null(0).to_numpy())
    parts = (column[start : start + BATCH] for start in range(0, len(column), BATCH))
    packed = (Strings.pack(part).packed.values for part in parts)
    write_arrays(path, {"values": Blocks(np.dtype(np.uint8), int(offsets[-1]), packed), "offsets": offsets})


def write_tokens(
    place: Path,
    name: str,
    texts: Sequence[str] | pl.Series,
    key: str,
    tokenizer: Tokenizer,
    progress: Progress,
) -> dict[str, Any]:
    """Write one tokenization of a text; returns its entry in the manifest."""
    starts = progress.track(range(0, len(texts), BATCH), f"{place.name}: {name}@{key}")
    plain = for_text(tokenizer)
    parts = [encode(plain, list(texts[start : start + BATCH])) for start in starts]
    lengths = np.concatenate([part.lengths for part in parts] or [np.empty(0, np.int64)])
    return _save_tokens(place, name, key, tokenizer, [part.values for part in parts], lengths)


def _save_tokens(
    place: Path, name: str, key: str, tokenizer: Tokenizer, parts: Sequence[np.ndarray], lengths: np.ndarray
) -> dict[str, Any]:
    values = Blocks(np.dtype(np.int32), int(lengths.sum()), parts)
    write_arrays(place / f"{name}@{key}.safetensors", {"values": values, "offsets": offsets_of(lengths)})
    return field_facts(f"{name}@{key}", "text", lengths, key, vocab_size(tokenizer))


def field_facts(
    name: str, kind: str, lengths: np.ndarray, vocabulary: str | None, size: int
) -> dict[str, Any]:
    """A field's entry in the manifest."""
    return {
        "name": name,
        "kind": kind,
        "vocabulary": vocabulary,
        "vocab_size": size,
        "values": int(lengths.sum()),
        "longest": int(lengths.max(initial=0)),
        "empty": int((lengths == 0).sum()),
    }


def _vocabulary(column: Column) -> str | None:
    return column.vocabulary or column.name if column.kind in ("category", "categories") else None
