"""Writing a data store: one writer for every reader in ``process/``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl

from legorec.data.layout import FORMAT, VERSION, StoreError, check_name
from legorec.data.ragged import Ragged
from legorec.data.store import rows_of
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column, column_of, list_parts
from legorec.data.writing.folder import NewFolder, write_manifest
from legorec.data.writing.like import Like
from legorec.data.writing.missing import MissingIds
from legorec.data.writing.progress import Progress
from legorec.data.writing.spans import HistoryPool
from legorec.data.writing.split_parts import SplitParts, write_interactions
from legorec.data.writing.tables import TableWriter, with_fields
from legorec.data.writing.user_table import UserTable
from legorec.data.writing.vocabularies import Vocabularies
from legorec.files.digest import remember

CHUNK = 200_000  # impressions whose raw ids are looked up at a time


class StoreWriter:
    """Writes a store: items, then users if given, then impressions; the folder appears when all is done.

    It is a context manager; leaving it by an exception removes what was written. Raw ids become rows here,
    unknown ids are dropped and counted here, and equal or growing histories of a user are stored once.
    Training may see the items that occur in the split ``train`` (all, if there is none): words and characters
    take their vocabulary from these.

    Args:
        path: the folder to create.
        made_with: settings of the processor, without paths of a machine; a config can require them.
        tokenizers: every text field is tokenized by each of them.
        max_missing: the share of ids in one place that may be in no table.
        overwrite: replace an existing store.
        user_table: fields of the users; who the users are is said by the impressions or ``users``.
        generations: what language models added, for the manifest.
        like: an older store, whose fields, tokenizers, vocabularies and scales of numbers are kept.

    Until then, the data lies in files in ``scratch``; a reader may put files of its own there too.
    """

    def __init__(
        self,
        path: str | Path,
        made_with: Mapping[str, Any],
        tokenizers: Sequence[TokenizerChoice] = (),
        max_missing: float = 0.01,
        overwrite: bool = False,
        progress: Progress | None = None,
        user_table: UserTable | None = None,
        generations: Sequence[Mapping[str, Any]] = (),
        like: Like | None = None,
    ) -> None:
        names = [choice.name for choice in tokenizers]
        if twice := {name for name in names if names.count(name) > 1}:
            raise StoreError(f"tokenizer '{min(twice)}' is named twice")
        self.missing = MissingIds(max_missing)
        self.progress = progress or Progress()
        self.tokenizers = list(tokenizers)
        # Reads the folders now, so that errors come early.
        described = {choice.name: choice.settings for choice in tokenizers}
        self._like = like
        if like is not None:
            like.check_tokenizers(tokenizers)
            described, made_with = dict(like.described), {**made_with, "like": like.store.digest}
        self.made_with = {**made_with, "tokenizers": described, "max_missing": max_missing}
        self._items: TableWriter | None = None
        self._users: TableWriter | None = None
        self._users_grow, self._user_table = False, user_table
        self._generations = list(generations)
        self._splits: dict[str, SplitParts] = {}
        self._first_sequence: int | None = None
        self._marks: tuple[Ragged, Sequence[str]] | None = None
        self._counts: dict[str, dict[str, int]] = {"dropped": {}, "kept": {}}
        self._folder = NewFolder(Path(path), overwrite)
        self.scratch = self._folder.temporary / "scratch"
        self._pool = HistoryPool(self.scratch)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._folder.discard()  # does nothing after a rename

    def items(
        self,
        frame: pl.DataFrame,
        columns: Sequence[Column] = (),
        id_column: str = "id",
        file: object = "",
        generated: int = 0,
    ) -> None:
        """Set the item table: one row per item, ids distinct; ``file`` is its origin, for messages.

        Args:
            generated: how many of the last rows a language model invented.
        """
        self._items = TableWriter("items", frame, columns, id_column, str(file), generated)
        self._check_like(self._items)

    def users(
        self, frame: pl.DataFrame, columns: Sequence[Column] = (), id_column: str = "id", file: object = ""
    ) -> None:
        """Set the user table; without one, it lists the users of the impressions, in order of appearance."""
        self._users = TableWriter("users", frame, columns, id_column, str(file))

    def _check_like(self, table: TableWriter) -> None:
        if self._like is not None:
            self._like.check_columns(table.name, table.columns, table.label)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have impressions so far."""
        return tuple(self._splits)

    @property
    def num_items(self) -> int:
        """Rows of the item table."""
        return len(self._table(self._items, "items"))

    @property
    def num_users(self) -> int:
        """Rows of the user table, so far."""
        return len(self._users) if self._users else 0

    def item_rows(self, split: str, ids: pl.Series, place: str = "item ids", file: object = "") -> np.ndarray:
        """Item rows of raw ids; unknown ids, -1, are counted and must be dropped by the caller.

        Args:
            file: where the ids stand, for messages.
        """
        table = self._table(self._items, "items")
        rows = rows_of(ids, table.enum)
        self.missing.add(split, place, rows, ids, table.ids, str(file))
        return rows

    def user_rows(self, split: str, ids: pl.Series, file: object = "") -> np.ndarray:
        """User rows of raw ids; unknown ids, -1, are counted and must be dropped by the caller."""
        if self._users is None:
            self._users, self._users_grow = TableWriter("users", pl.DataFrame({"id": []}), (), "id"), True
        if self._users_grow:
            self._users.grow(ids)
        rows = rows_of(ids, self._users.enum)
        self.missing.add(split, "user ids", rows, ids, self._users.ids, str(file))
        return rows

    def dropped(self, what: str, count: int) -> None:
        """Count rows that a reader left out, by reason."""
        self._count("dropped", what, count)

    def kept(self, what: str, count: int) -> None:
        """Count rows that a reader was asked to keep, by reason."""
        self._count("kept", what, count)

    def _count(self, key: str, what: str, count: int) -> None:
        if count:
            self._counts[key][what] = self._counts[key].get(what, 0) + int(count)

    def impressions(self, split: str, frame: pl.DataFrame, file: object = "") -> None:
        """Add impressions, each with its own history; may be called chunk by chunk.

        Args:
            frame: columns ``user``; ``history`` and ``candidates``, lists of raw ids; ``labels``, lists of 0
                and 1 (without the column the labels of the split are not known); perhaps ``id``, ``time``
                (seconds).
        """
        for start in range(0, max(1, len(frame)), CHUNK):
            self._add_impressions(split, frame.slice(start, CHUNK), file)

    def _add_impressions(self, split: str, frame: pl.DataFrame, file: object) -> None:
        user = self.user_rows(split, column_of(frame, "user").cast(pl.String), file)
        parts = []
        for place in ("history", "candidates"):
            values, lengths = list_parts(column_of(frame, place))
            rows = self.item_rows(split, values, f"item ids in {place}", file)
            parts.append((Ragged.from_lengths(rows, lengths), rows >= 0))
        (history, known), (candidates, offered) = parts
        labels = None
        if "labels" in frame.columns:
            flat, lengths = list_parts(frame["labels"])
            if not np.array_equal(lengths, candidates.lengths):
                raise StoreError(f"split '{split}': every impression needs one label per candidate")
            labels = flat.cast(pl.UInt8).to_numpy()[offered]
        history = history.keep(known)
        window = (self._pool.add(np.maximum(user, 0), history), np.zeros_like(user), history.lengths)
        ids, time = (frame[name] if name in frame.columns else None for name in ("id", "time"))
        self._append(split, user, window, candidates.keep(offered), labels, ids, time)

    def sequences(
        self, clicks: Ragged | Iterable[Ragged], marks: tuple[Ragged, Sequence[str]] | None = None
    ) -> None:
        """Set the clicks of every user in order, as item rows, one row per user, for ``windows``.

        Args:
            clicks: of all users, or in parts.
            marks: what is known of each click (uint8), and the name of each value, such as ``disliked`` and
                ``liked``. All impressions of the store are ``windows`` then.
        """
        self._marks = marks
        num_users = len(self._table(self._users, "users"))
        self._first_sequence, count = len(self._pool), 0
        for part in [clicks] if isinstance(clicks, Ragged) else clicks:
            self._pool.append(np.arange(count, count + len(part)), part)
            count += len(part)
        if count != num_users:
            raise StoreError(f"`sequences` needs one row per user ({num_users:,}), got {count:,}")

    def windows(
        self,
        split: str,
        user: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
        candidates: Ragged,
        labels: np.ndarray | None,
        time: np.ndarray | None = None,
        ids: pl.Series | None = None,
    ) -> None:
        """Add impressions in rows, whose histories are from ``start`` to ``stop`` in the user's sequence.
        Without ``labels`` those of the split are unknown."""
        if self._first_sequence is None:
            raise StoreError("`windows` needs `sequences` first")
        window = (self._first_sequence + user, start, stop)
        self.impressions_in(split, user, window, candidates, labels, time, ids)

    def pieces(self, users: np.ndarray, clicks: Ragged) -> int:
        """Add stretches of clicks, in rows, for ``impressions_in``; returns the number of the first one."""
        first = len(self._pool)
        self._pool.append(users, clicks)
        return first

    def impressions_in(
        self,
        split: str,
        user: np.ndarray,
        window: Sequence[np.ndarray],
        candidates: Ragged,
        labels: np.ndarray | None,
        time: np.ndarray | None = None,
        ids: pl.Series | None = None,
    ) -> None:
        """Add impressions in rows, as ``windows`` does; ``window`` is piece, start, stop of each history."""
        self._append(split, user, window, candidates, labels, ids, None if time is None else pl.Series(time))

    def _append(
        self,
        split: str,
        user: np.ndarray,
        window: Sequence[np.ndarray],
        candidates: Ragged,
        labels: np.ndarray | None,
        ids: pl.Series | None,
        time: pl.Series | None,
    ) -> None:
        if labels is not None and (len(labels) != len(candidates.values) or (labels > 1).any()):
            raise StoreError(f"split '{split}': labels must be 0 or 1, one per candidate")
        if split not in self._splits:
            self._splits[split] = SplitParts(split, self.scratch / "splits" / check_name(split, "split"))
        parts, known = self._splits[split], user >= 0
        kept = known & (candidates.lengths > 0)
        parts.without_candidates += int((known & ~kept).sum())
        rows = np.flatnonzero(kept)
        parts.append(
            user[rows],
            tuple(each[rows] for each in window),
            candidates.take(rows),
            None if labels is None else labels[np.repeat(kept, candidates.lengths)],
            None if ids is None else ids.cast(pl.String).filter(kept),
            None if time is None else time.filter(kept),
        )

    def finish(self) -> None:
        """Tokenize, write everything, the manifest last, and put the folder in its place."""
        self.missing.check()
        items = self._table(self._items, "items")
        users = self._users or TableWriter("users", pl.DataFrame({"id": []}), (), "id")
        users = with_fields(users, self._user_table, self.missing.max_missing, self.dropped)
        self._check_like(users)
        folder, dropped, kept = self._folder.temporary, self._counts["dropped"], self._counts["kept"]
        splits = self._splits.values()
        visible, facts = write_interactions(folder, self.scratch, self._pool, splits, len(items), self._marks)
        for parts in splits:
            self.dropped(f"impressions without known candidates ({parts.name})", parts.without_candidates)
        vocabularies = Vocabularies(self._like)
        tables = {
            "items": items.write(
                folder, vocabularies, self.tokenizers, visible, self.progress, users.texts()
            ),
            "users": users.write(folder, vocabularies, self.tokenizers, None, self.progress),
        }
        for name, count in vocabularies.left_out.items():
            self.dropped(f"values of '{name}' that are no category of the store it is made like", count)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "made_with": self.made_with,
            **tables,
            **vocabularies.write(folder),
            **facts,
            "dropped": {"ids": self.missing.manifest(), "rows": dict(sorted(dropped.items()))},
            **({"kept": dict(sorted(kept.items()))} if kept else {}),
            **({"generations": self._generations} if self._generations else {}),
        }
        self.progress.say("writing the manifest")
        since = time.time_ns()
        digests = write_manifest(folder, manifest)
        self._folder.commit()
        remember({self._folder.path / name: digest for name, digest in digests.items()}, since)

    @staticmethod
    def _table(table: TableWriter | None, name: str) -> TableWriter:
        if table is None:
            raise StoreError(f"`{name}` must be given to the writer first")
        return table
