"""A store that is there as what a writer takes, so that it can be written again with something more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged, offsets_of
from legorec.data.store import Field, Store, Table
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.missing import MissingCount
from legorec.data.writing.writer import StoreWriter


@dataclass(frozen=True)
class Pieces:
    """The stretches of a store's clicks in which its histories lie, end to end.

    Args:
        user: (P,) whose each is.
        clicks: (P rows) item rows, oldest first.
        span_piece: (S,) the piece of each span of the store.
        span_start: (S,) where in it the span begins.
        span_stop: (S,) and where it ends.
    """

    user: np.ndarray
    clicks: Ragged
    span_piece: np.ndarray
    span_start: np.ndarray
    span_stop: np.ndarray

    @property
    def span_lengths(self) -> np.ndarray:
        """(S,) the number of clicks in each span."""
        return self.span_stop - self.span_start

    @classmethod
    def of(cls, store: Store) -> Pieces:
        """Spans that share clicks lie in one piece. A user's empty histories have a piece of their own."""
        spans, owner = np.asarray(store.spans), owners(store)
        order = np.lexsort((spans[:, 1], spans[:, 0], owner, spans[:, 1] > spans[:, 0]))
        starts, stops, users = spans[order, 0], spans[order, 1], owner[order]
        filled = stops > starts
        reached = np.maximum.accumulate(stops) if len(stops) else stops
        new = np.ones(len(order), dtype=bool)
        new[1:] = (users[1:] != users[:-1]) | (filled[1:] != filled[:-1])
        new[1:] |= filled[1:] & (starts[1:] >= reached[:-1])
        first = np.flatnonzero(new)
        piece = np.cumsum(new) - 1
        begin = starts[first]
        ends = np.maximum.reduceat(stops, first) if len(first) else begin
        flat = Ragged(store.histories, np.array([0, len(store.histories)]))
        clicks = flat.slices(first, begin, np.where(filled[first], ends, begin))
        placed = [np.empty(len(order), dtype=np.int64) for _ in range(3)]
        at = np.where(filled, begin[piece], starts)
        for array, values in zip(placed, (piece, starts - at, stops - at), strict=True):
            array[order] = values
        return cls(users[first], clicks, *placed)

    def with_clicks(self, place: np.ndarray, added: Ragged) -> Pieces:
        """With clicks put into some pieces.

        A span has them if it has the click that they come after. Those that come first in a piece belong to
        the spans that begin there.

        Args:
            place: (P,) how many clicks of the piece come before them; -1 where none are added.
            added: (P rows) the clicks; empty where none are added.
        """
        counts = np.where(place >= 0, added.lengths, 0)
        before = np.repeat(self.clicks.offsets[:-1] + np.maximum(place, 0), counts)
        values = np.insert(
            self.clicks.values, before, added.keep(np.repeat(place >= 0, added.lengths)).values
        )
        at, more = place[self.span_piece], counts[self.span_piece]
        after_start = (at < self.span_start) | ((at == self.span_start) & (self.span_start > 0))
        starts = self.span_start + more * after_start
        stops = self.span_stop + more * (at <= self.span_stop)
        clicks = Ragged(values, offsets_of(self.clicks.lengths + counts))
        return Pieces(self.user, clicks, self.span_piece, starts, stops)


def owners(store: Store) -> np.ndarray:
    """(S,) the user of each span."""
    owner = np.zeros(len(store.spans), dtype=np.int64)
    for split in store.splits:
        table = store.interactions(split)
        owner[np.asarray(table.span)] = table.user
    return owner


@dataclass
class Content:
    """A table as a frame and its columns; ``id`` holds the raw ids."""

    frame: pl.DataFrame
    columns: list[Column] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store, table: Table) -> Content:
        """All fields of a table. Texts of words and characters are to be tokenized again."""
        series: dict[str, pl.Series] = {"id": table.ids.series()}
        columns = []
        kept = {name for name, choice in choices_of(store).items() if choice.folder is not None}
        # In the order in which they were written; a text without tokens comes last.
        for name in dict.fromkeys(
            [each.partition("@")[0] for each in table.field_names] + [*table.text_names]
        ):
            if name in table.text_names:
                columns.append(Column(name, "text", f"field {name}", tokens=_kept_tokens(table, name, kept)))
                series[f"field {name}"] = table.text(name).series()
            else:
                stored = table.field(name)
                columns.append(Column(name, stored.kind, f"field {name}", stored.vocabulary))
                series[f"field {name}"] = _values(store, stored)
        return cls(pl.DataFrame(series), columns)


def _kept_tokens(table: Table, name: str, kept: set[str]) -> dict[str, Ragged] | None:
    """The tokens of a text by tokenizer, where none of these is made anew."""
    rows = {
        each.partition("@")[2]: table.field(each).rows
        for each in table.field_names
        if each.startswith(f"{name}@")
    }
    return rows if rows and rows.keys() <= kept else None


def _values(store: Store, stored: Field) -> pl.Series:
    """The values of a field that is no text, as a frame holds them."""
    if stored.vocabulary is None:
        flat = pl.Series(stored.rows.values, dtype=pl.Float32)
    else:
        names = pl.Series(store.vocabulary(stored.vocabulary), dtype=pl.String)
        flat = names.gather(stored.rows.values) if len(names) else pl.Series([], dtype=pl.String)
    lengths = stored.rows.lengths
    lists = list_column(flat, lengths)
    return lists if stored.kind == "categories" else lists.list.first()


def list_column(flat: pl.Series, lengths: np.ndarray) -> pl.Series:
    """Values end to end as a column of lists."""
    rows = pl.DataFrame({"row": np.repeat(np.arange(len(lengths)), lengths), "value": flat})
    grouped = rows.group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(lengths))})
    return every.join(grouped, on="row", how="left", maintain_order="left")["value"].fill_null([])


def choices_of(store: Store) -> dict[str, TokenizerChoice]:
    """The tokenizers of a store by name: folders are those in it, words and characters are made as before."""
    made = store.manifest["made_with"].get("tokenizers", {})
    used = [name.partition("@")[2] for name in store.items.field_names if "@" in name]
    found = {}
    for name in dict.fromkeys([*used, *store.manifest["tokenizers"]]):
        how = made.get(name, {"kind": "folder"})
        if how["kind"] == "folder":
            found[name] = TokenizerChoice(name, store.path / "tokenizers" / name)
        else:
            found[name] = TokenizerChoice(name, None, how["min_count"], how["max_size"])
    return found


def add_impressions(writer: StoreWriter, store: Store, pieces: Pieces) -> None:
    """Give a writer all impressions of a store, with the histories of ``pieces``, and what was counted.

    Raises:
        StoreError: its clicks have marks, which stand beside whole sequences alone.
    """
    if store.marks is not None:
        raise StoreError(
            f"{store.path}: its clicks are marked ({', '.join(store.mark_names)}), and text cannot be "
            "merged into such a store yet; enrich one without marks"
        )
    first = writer.pieces(pieces.user, pieces.clicks)
    for split in store.splits:
        table = store.interactions(split)
        span = np.asarray(table.span)
        window = (pieces.span_piece[span] + first, pieces.span_start[span], pieces.span_stop[span])
        ids = None if table.ids is None else table.ids.series()
        labels = np.asarray(table.labels) if table.labelled else None
        writer.impressions_in(
            split, np.asarray(table.user), window, table.candidates, labels, table.time, ids
        )
    _add_counts(writer, store.manifest)


def _add_counts(writer: StoreWriter, manifest: dict[str, Any]) -> None:
    for split, places in manifest["dropped"]["ids"].items():
        for place, part in places.items():
            writer.missing.counts[(split, place)] = MissingCount(part["missing"], part["of"], ["?"])
    for what, count in manifest["dropped"]["rows"].items():
        writer.dropped(what, count)
    for what, count in manifest.get("kept", {}).items():
        writer.kept(what, count)


def same_names(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Those of ``names`` that ``others`` has too, whatever their capitals."""
    there = {name.casefold() for name in others}
    return [name for name in names if name.casefold() in there]
