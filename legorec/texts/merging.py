"""A store and answers in, a new store out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from legorec.data.layout import StoreError
from legorec.data.store import Store, Table, rows_of
from legorec.data.writing.columns import Column
from legorec.data.writing.folder import NewFolder
from legorec.data.writing.missing import MissingIds
from legorec.data.writing.progress import Progress
from legorec.data.writing.rewritten import Content, Pieces, add_impressions, choices_of, same_names
from legorec.data.writing.writer import StoreWriter
from legorec.files.manifest import MANIFEST
from legorec.texts.answers import Answers, Fields
from legorec.texts.placing import placed
from legorec.texts.scheme import AnswerField, Scheme
from legorec.texts.schemes import template_of
from legorec.texts.training_histories import TrainingHistories

GENERATED = "generated:{user}:{number}"  # the raw id of a generated item


@dataclass(frozen=True)
class Merge:
    """What is merged into what.

    Args:
        settings: of the scheme, as plain JSON, for the manifest.
        by_row: the ids of the logs are rows of the store's table, as in the logs of ONCE.
        max_missing: the share of the answers whose id may be in no table.
    """

    store: Store
    scheme: Scheme
    settings: Mapping[str, Any]
    answers: Answers
    by_row: bool = False
    max_missing: float = 0.01
    train: str = "train"

    @cached_property
    def histories(self) -> TrainingHistories:
        """The clicks that prompts of users were made from."""
        return TrainingHistories.of(self.scheme, self.store, self.train)

    @property
    def generation(self) -> dict[str, Any]:
        """What decides the result beside the store: equal ones add the same."""
        return {
            "template": template_of(self.scheme),
            "scheme": dict(self.settings),
            "logs": self.answers.logs,
            "ids": "rows" if self.by_row else "raw",
            "train": self.train,
        }

    def is_in(self, store: Store) -> bool:
        """Whether a store carries this generation."""
        keys = self.generation
        there = store.manifest.get("generations", ())
        return any({key: each.get(key) for key in keys} == keys for each in there)


def merge(asked: Merge, out: Path, overwrite: bool = False, progress: Progress | None = None) -> bool:
    """Write the store with what the answers add; False where it was there already.

    What is made twice from the same store, scheme and logs has the same digest. A store that carries this
    generation is not changed by it: ``out`` becomes a copy.

    Raises:
        StoreError: more than ``max_missing`` of the ids are in no table, a field is there already, or ``out``
            is something else.
        WriteError: the disk is full or not writable.
    """
    store, progress = asked.store, progress or Progress()
    if not overwrite and is_merged(asked, out):
        return False
    if asked.is_in(store):
        _copy(store, out, overwrite)
        return False
    rows, counts = _rows(asked)
    steps: dict[tuple[str, str], Callable[..., None]] = {
        ("items", "fields"): _add_fields,
        ("users", "fields"): _add_fields,
        ("users", "items"): _add_items,
    }
    made = _Made(Content.of(store, store.items), Content.of(store, store.users), Pieces.of(store))
    steps[asked.scheme.of, asked.scheme.makes](asked, rows, made, counts)
    record = {
        **asked.generation,
        "generators": asked.answers.generators,
        "base": store.digest,
        "counts": asked.answers.counts | dict(counts),
    }
    settings = {key: value for key, value in store.manifest["made_with"].items() if key != "tokenizers"}
    limit = settings.pop("max_missing", 0.01)
    generations = [*store.manifest.get("generations", ()), record]
    with StoreWriter(
        out,
        settings,
        [*choices_of(store).values()],
        limit,
        overwrite,
        progress,
        generations=generations,
    ) as writer:
        generated = int(store.items.generated.sum()) + made.generated
        writer.items(made.items.frame, made.items.columns, file=store.path, generated=generated)
        writer.users(made.users.frame, made.users.columns, file=store.path)
        add_impressions(writer, store, made.pieces)
    return True


def is_merged(asked: Merge, out: Path) -> bool:
    """Whether a folder holds what would be written there."""
    if not (out / MANIFEST).is_file():
        return False
    there = Store.open(out)
    return asked.is_in(there) and _base(there) == asked.store.digest


@dataclass
class _Made:
    """The store that is being made."""

    items: Content
    users: Content
    pieces: Pieces
    generated: int = 0


def _base(store: Store) -> str:
    """The digest of the store that the last generation was merged into."""
    return str(store.manifest["generations"][-1]["base"])


def _copy(store: Store, out: Path, overwrite: bool) -> None:
    if out.resolve() == store.path.resolve():
        return
    folder = NewFolder(out, overwrite)
    try:
        shutil.copytree(store.path, folder.temporary, dirs_exist_ok=True)
        folder.commit()
    finally:
        folder.discard()


def _table(asked: Merge) -> Table:
    return asked.store.items if asked.scheme.of == "items" else asked.store.users


def _rows(asked: Merge) -> tuple[dict[int, list[Fields]], Counter[str]]:
    """The answers by row of the table. Ids that are in no table are counted, and refused above a share."""
    table, answers = _table(asked), asked.answers
    real = table.num_real
    ids = pl.Series("id", [*answers.fields], dtype=pl.String)
    if asked.by_row:
        numbers = ids.cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
        rows = np.where((numbers >= 0) & (numbers < real), numbers, -1)
    else:
        rows = rows_of(ids, pl.Enum(table.ids.series()))
        rows = np.where(rows < real, rows, -1)  # no prompt was made of a generated item
    missing = MissingIds(asked.max_missing)
    known = pl.Series("id", [str(real - 1)]) if asked.by_row else table.ids.series()
    missing.add("answers", f"{asked.scheme.of[:-1]} ids", rows, ids, known)
    missing.check()
    found = {int(row): answers.fields[raw] for row, raw in zip(rows, ids, strict=True) if row >= 0}
    of, counts = asked.scheme.of, Counter({"ids in no table": int((rows < 0).sum())})
    if of == "users":
        # An answer about anybody else was made from clicks that are not in training.
        prompted = set(asked.histories.asked.tolist())
        counts["users with an answer and no prompt of this scheme"] = len(found.keys() - prompted)
        found = {row: said for row, said in found.items() if row in prompted}
    counts.update({f"{of} with an answer": len(found), f"{of} without an answer": real - len(found)})
    if not found:
        raise StoreError(f"{asked.store.path}: no answer is about its {of}; there is nothing to add")
    return found, counts


def _add_fields(asked: Merge, rows: dict[int, list[Fields]], made: _Made, counts: Counter[str]) -> None:
    """New fields of the items or of the users."""
    table, fields = _table(asked), asked.scheme.answer.fields
    content = made.items if asked.scheme.of == "items" else made.users
    names = [*fields]
    if taken := same_names(names, [column.name for column in content.columns]):
        raise StoreError(
            f"{asked.store.path}: its {asked.scheme.of} have a field '{taken[0]}' already; merge into the "
            "store that it was made from, or name the field otherwise in the scheme"
        )
    for name, field in fields.items():
        values: list[Any] = [None] * len(table)
        for row, (said,) in rows.items():
            values[row] = said.get(name)
        if field.otherwise is not None:
            _fill(asked.store, field.otherwise, name, values, counts)
        kind = _kind(field)
        dtype = pl.List(pl.String) if kind == "categories" else pl.String
        content.frame = content.frame.with_columns(pl.Series(f"field {name}", values, dtype=dtype))
        content.columns.append(Column(name, kind, f"field {name}"))
        counts[f"`{name}` empty"] = sum(not value for value in values)


def _kind(field: AnswerField) -> Literal["text", "category", "categories"]:
    """What a field of an answer becomes in a store."""
    if field.kind == "list":
        return "categories"
    return "text" if field.choices is None else "category"


def _fill(store: Store, source: str, name: str, values: list[Any], counts: Counter[str]) -> None:
    texts = store.items.text(source)
    empty = [row for row, value in enumerate(values) if not value]
    for row, text in zip(empty, texts.take(empty), strict=True):
        values[row] = text
    counts[f"`{name}` taken from `{source}`"] = len(empty)


def _add_items(asked: Merge, rows: dict[int, list[Fields]], made: _Made, counts: Counter[str]) -> None:
    """New items, in the histories of the users that they were made for."""
    store, frame = asked.store, made.items.frame
    taken = set(frame["id"])
    users = store.users.ids
    added: dict[int, np.ndarray] = {}
    new: list[dict[str, Any]] = []
    for row in sorted(rows):
        start, number = len(new), 0
        for said in rows[row]:
            while (raw := GENERATED.format(user=users[row], number=number)) in taken:
                number += 1
            taken.add(raw)
            new.append({"id": raw, **said})
        added[row] = np.arange(start, len(new)) + len(frame)
    fields = asked.scheme.answer.fields
    there = {column.name: column for column in made.items.columns}
    for name in fields:
        if name not in there:
            counts[f"`{name}` of generated items, which the store has no field for"] = len(new)
    known = {name: column for name, column in there.items() if name in fields}
    series = {"id": pl.Series([each["id"] for each in new], dtype=pl.String)}
    for name, column in known.items():
        series[column.source or name] = _values_of(name, column, [each.get(name) for each in new], frame)
    for name, source in _stand_ins(store).items():
        if name in there and name not in known and source in known:
            series[f"field {name}"] = series[f"field {source}"]
    made.items.frame = pl.concat([frame, pl.DataFrame(series)], how="diagonal")
    before = made.pieces
    made.pieces = placed(store, before, asked.histories.clicks, added)
    made.generated = len(new)
    counts["generated items"] = len(new)
    counts["histories with them"] = int((made.pieces.span_lengths > before.span_lengths).sum())


def _values_of(name: str, column: Column, values: list[Any], frame: pl.DataFrame) -> pl.Series:
    """The values of a field of generated items, as the frame of the others has them."""
    if column.kind == "number":
        raise StoreError(f"the field '{name}' of the items is a number, which an answer cannot give")
    if column.kind == "categories":
        values = [[value] if isinstance(value, str) else value for value in values]
    else:
        values = [", ".join(value) if isinstance(value, list) else value for value in values]
    return pl.Series(values, dtype=frame.schema[column.source or name])


def _stand_ins(store: Store) -> dict[str, str]:
    """The fields of earlier generations that another stands in for where there is no answer."""
    found = {}
    for each in store.manifest.get("generations", ()):
        for name, field in each["scheme"]["answer"]["fields"].items():
            if field.get("otherwise"):
                found[name] = field["otherwise"]
    return found
