"""The items, or the users, as the model sees them: token ids, packed, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from legorec.abilities import RowsOf
from legorec.data.number_scale import NumberScale, Scaled
from legorec.data.ragged import Ragged, joined
from legorec.data.text import vocab_size
from legorec.nn.sending import sent

if TYPE_CHECKING:
    from legorec.data.item_text import ItemText
    from legorec.data.store import Store, Table


class FieldCut(Protocol):
    """How much of a field is used: the first or the last ``max_length`` tokens (None: all)."""

    @property
    def max_length(self) -> int | None: ...

    @property
    def keep(self) -> Literal["first", "last"]: ...


@runtime_checkable
class FieldReading(FieldCut, Protocol):
    """A cut that says more: which field of a store is read (None: the one of the same name), whether its
    tokens have a table of their own, and how its numbers are scaled."""

    @property
    def column(self) -> str | None: ...

    @property
    def own_table(self) -> bool: ...

    @property
    def scaled(self) -> Scaled: ...


def own_table(name: str) -> str:
    """The name of a field's own table; the space keeps it apart from every vocabulary of a store."""
    return f"field {name}"


@dataclass(frozen=True)
class CatalogField:
    """One field of the items, after truncation.

    A field of numbers has its own vocabulary with a single token, which an item has if it has a number.
    """

    name: str
    kind: str  # text, category, categories or number
    vocabulary: str
    vocab_size: int
    max_length: int  # length of the longest row
    mean: float = 0.0  # of the given numbers; with `min_max` their least
    deviation: float = 1.0  # standard deviation of the numbers, or their range; 0 if all are the same
    column: str | None = None  # of the store, if it has another name there
    own: bool = False  # whether its tokens have vectors of their own

    @property
    def stored(self) -> str:
        """Its name in the store."""
        return self.column or self.name

    @property
    def table(self) -> str:
        """The table that its tokens are looked up in: the vocabulary's, or one of its own."""
        return own_table(self.name) if self.own else self.vocabulary

    @property
    def rows(self) -> RowsOf:
        """Whose the rows of its table are."""
        kind: Literal["text", "number", "category"] = "category"
        if self.kind in ("text", "number"):
            kind = "text" if self.kind == "text" else "number"
        return RowsOf(kind, self.vocab_size, self.vocabulary)

    @classmethod
    def of_numbers(
        cls, name: str, rows: Ragged, scaled: Scaled = "standard", noted: NumberScale | None = None
    ) -> CatalogField:
        """A field of numbers, with mean and standard deviation over the items that have one.

        Args:
            scaled: ``min_max`` takes the least number and the range in their place.
            noted: where these are not those of the rows.
        Raises:
            ValueError: a number is not finite.
        """
        _refuse_infinite(name, rows.values, rows.values)
        scale = NumberScale.of(rows.values) if noted is None else noted
        longest = int(rows.lengths.max(initial=0))
        # The space keeps the name apart from every vocabulary of a store.
        return cls(name, "number", f"number {name}", 1, longest, *scale.centre_and_width(scaled))

    def standardised(self, numbers: np.ndarray) -> np.ndarray:
        """(T,) float32 standardised numbers: deviations from the mean over the standard one; 0 if constant.

        Raises:
            ValueError: a number is not finite, before or after.
        """
        _refuse_infinite(self.name, numbers, numbers)
        if not self.deviation:
            return np.zeros(len(numbers), dtype=np.float32)
        with np.errstate(over="ignore"):
            scaled = ((numbers.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        _refuse_infinite(self.name, numbers, scaled)
        return scaled


@dataclass(frozen=True)
class Tokens:
    """Token ids of some items, packed item by item and, within an item, field by field."""

    ids: Tensor  # (T,) int64, on the device; shifted by the vocabulary's base
    lengths: Tensor  # (N, F) int64, on the host
    scale: Tensor | None = None  # (T,) float32 factor of each token's vector; None: all 1


class Catalog:
    """Token ids of every item, packed once; a batch is a gather.

    Ids of different vocabularies are shifted apart (``base``), so that one table can hold them all; those of
    a field with a table of its own are too, and ``vocabularies`` then has it beside its vocabulary. If a
    field holds numbers, each token has a ``scale``: the standardised number, and 1 for every other token.

    Args:
        fields: what each field is, in order.
        rows: the tokens of each field, or its raw numbers, one row per item.
        text: the template that made the single field, if that is the items' text for a language model.
    """

    def __init__(
        self, fields: Sequence[CatalogField], rows: Sequence[Ragged], text: ItemText | None = None
    ) -> None:
        if not fields:
            raise ValueError("a catalogue needs at least one field, got none")
        self.fields = tuple(fields)
        self.text = text
        self.item_ids_digest = ""  # of the raw ids, if the catalogue is from a store
        self.vocabularies: dict[str, int] = {}
        for part in self.fields:
            known = self.vocabularies.setdefault(part.table, part.vocab_size)
            assert known == part.vocab_size, f"vocabulary {part.vocabulary} has two sizes"
        starts = np.cumsum([0, *self.vocabularies.values()])
        self.base = {name: int(start) for name, start in zip(self.vocabularies, starts, strict=False)}
        self.num_items = len(rows[0])
        self._pack(rows)

    def _pack(self, rows: Sequence[Ragged]) -> None:
        parts = list(zip(self.fields, rows, strict=True))
        shifted = []
        for part, row in parts:
            ids = np.zeros(len(row.values), dtype=np.int32) if part.kind == "number" else row.values
            shifted.append(Ragged(ids + np.int32(self.base[part.table]), row.offsets))
        whole = joined(shifted)
        self.scale: Tensor | None = None
        if any(part.kind == "number" for part in self.fields):
            scales = [Ragged(_scale(part, row.values), row.offsets) for part, row in parts]
            self.scale = torch.from_numpy(joined(scales).values)
        self.lengths = torch.from_numpy(np.stack([row.lengths for row in rows], axis=1))
        self._starts = torch.from_numpy(whole.offsets[:-1].copy())
        self._item_lengths = self.lengths.sum(1)
        self.values = torch.from_numpy(whole.values)

    @property
    def table_rows(self) -> dict[str, RowsOf]:
        """Whose the rows of each table are, in the order of ``vocabularies``."""
        found: dict[str, RowsOf] = {}
        for part in self.fields:
            found.setdefault(part.table, part.rows)
        return found

    @classmethod
    def from_store(cls, store: Store, cuts: Mapping[str, FieldCut]) -> Catalog:
        """The named fields of a store's items, cut to their lengths.

        Raises:
            ValueError: a field is not in the store, or a number is not finite.
        """
        store.require(fields=columns(cuts))
        return cls.from_table(store.items, cuts)

    @classmethod
    def from_table(cls, table: Table, cuts: Mapping[str, FieldCut]) -> Catalog:
        """The named fields of a store's items, or of its users, cut to their lengths.

        Raises:
            ValueError: a field is not in the table, or a number is not finite.
        """
        fields, rows = [], []
        for name, cut in cuts.items():
            source, column, own = _reading(name, cut)
            scaled = cut.scaled if isinstance(cut, FieldReading) else "standard"
            stored = table.field(source)
            row = stored.rows
            if cut.max_length is not None:
                row = row.first(cut.max_length) if cut.keep == "first" else row.last(cut.max_length)
            if stored.vocabulary is None:
                part = CatalogField.of_numbers(name, row, scaled, stored.scale)
                fields.append(replace(part, column=column))
            else:
                longest = int(row.lengths.max(initial=0))
                part = CatalogField(name, stored.kind, stored.vocabulary, stored.vocab_size, longest)
                fields.append(replace(part, column=column, own=own))
            rows.append(row)
        return cls(fields, rows)

    @classmethod
    def from_text(cls, store: Store, text: ItemText) -> Catalog:
        """One field, ``text``: the template filled in for every item of a store.

        Raises:
            ValueError: a field of the template is not in the store.
        """
        rows = text.from_store(store)
        longest = int(rows.lengths.max()) if len(rows) else 0
        size = vocab_size(text.tokenizer)
        catalog = cls([CatalogField("text", "text", text.tokenizer_name, size, longest)], [rows], text)
        catalog.item_ids_digest = store.manifest["files"]["items/ids.safetensors"]["blake2b"]
        return catalog

    def with_items(self, rows: Sequence[Ragged]) -> Catalog:
        """A small catalogue of new items, with the fields, vocabularies, means and deviations of this one."""
        return Catalog(self.fields, rows, self.text)

    def to(self, device: torch.device | str) -> Catalog:
        """Move the token ids and their scale to a device; lengths stay on the host."""
        self.values = self.values.to(device)
        self.scale = None if self.scale is None else self.scale.to(device)
        return self

    def tokens(self, items: Tensor) -> Tokens:
        """Tokens of ``items`` (N,), rows of the catalogue in any order, on the host."""
        lengths = self._item_lengths[items]
        ends = lengths.cumsum(0)
        total = int(ends[-1]) if len(items) else 0
        shift = self._starts[items] - (ends - lengths)
        index = torch.repeat_interleave(shift, lengths, output_size=total) + torch.arange(total)
        (index,) = sent(self.values.device, index)
        scale = None if self.scale is None else self.scale[index]
        return Tokens(ids=self.values[index].long(), lengths=self.lengths[items], scale=scale)


def columns(cuts: Mapping[str, FieldCut]) -> list[str]:
    """The fields of a store that are read, each once."""
    return list(dict.fromkeys(_reading(name, cut)[0] for name, cut in cuts.items()))


def _reading(name: str, cut: FieldCut) -> tuple[str, str | None, bool]:
    """The field of the store, what it is called there if not the same, and whether it has its own table."""
    if not isinstance(cut, FieldReading):
        return name, None, False
    return cut.column or name, cut.column, cut.own_table


def _refuse_infinite(name: str, numbers: np.ndarray, judged: np.ndarray) -> None:
    wrong = ~np.isfinite(judged)
    if wrong.any():
        raise ValueError(f"the field '{name}' must hold finite numbers, got {numbers[wrong][0]:g}")


def _scale(part: CatalogField, values: np.ndarray) -> np.ndarray:
    return part.standardised(values) if part.kind == "number" else np.ones(len(values), dtype=np.float32)
