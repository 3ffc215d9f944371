"""The items as the model sees them: token ids, packed, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from legorec.data.ragged import Ragged, joined
from legorec.data.text import vocab_size

if TYPE_CHECKING:
    from legorec.data.item_text import ItemText
    from legorec.data.store import Store


class FieldCut(Protocol):
    """How much of a field is used: at most ``max_length`` tokens (None: all), from the first or the last."""

    @property
    def max_length(self) -> int | None: ...

    @property
    def keep(self) -> Literal["first", "last"]: ...


@dataclass(frozen=True)
class CatalogField:
    """One field of the items, after truncation."""

    name: str
    kind: str  # text, category or categories
    vocabulary: str
    vocab_size: int
    max_length: int  # the longest row there is


@dataclass(frozen=True)
class Tokens:
    """Token ids of some items, packed item by item, inside an item field by field."""

    ids: Tensor  # (T,) int64, on the device; shifted by the vocabulary's base
    lengths: Tensor  # (N, F) int64, on the host


class Catalog:
    """Token ids of every item, packed once; a batch is a gather.

    Ids of different vocabularies are shifted apart (``base``), so that one table can hold them all.

    Args:
        fields: what each field is, in order.
        rows: the tokens of each field, one row per item.
        text: the template that the one field was made by, where it is the items' text for a language model.
    """

    def __init__(
        self, fields: Sequence[CatalogField], rows: Sequence[Ragged], text: ItemText | None = None
    ) -> None:
        if not fields:
            raise ValueError("a catalogue needs at least one field, got none")
        self.fields = tuple(fields)
        self.text = text
        self.item_ids_digest = ""  # of the raw ids, where the catalogue is a store's
        self.vocabularies: dict[str, int] = {}
        for part in self.fields:
            known = self.vocabularies.setdefault(part.vocabulary, part.vocab_size)
            assert known == part.vocab_size, f"vocabulary {part.vocabulary} has two sizes"
        starts = np.cumsum([0, *self.vocabularies.values()])
        self.base = {name: int(start) for name, start in zip(self.vocabularies, starts, strict=False)}
        self.num_items = len(rows[0])
        self._pack(rows)

    def _pack(self, rows: Sequence[Ragged]) -> None:
        shifted = [
            Ragged(row.values + np.int32(self.base[part.vocabulary]), row.offsets)
            for part, row in zip(self.fields, rows, strict=True)
        ]
        whole = joined(shifted)
        self.lengths = torch.from_numpy(np.stack([row.lengths for row in rows], axis=1))
        self._starts = torch.from_numpy(whole.offsets[:-1].copy())
        self._item_lengths = self.lengths.sum(1)
        self.values = torch.from_numpy(whole.values)

    @classmethod
    def from_store(cls, store: Store, cuts: Mapping[str, FieldCut]) -> Catalog:
        """The named fields of a store's items, cut to their lengths.

        Raises:
            ValueError: a field is not in the store or holds numbers.
        """
        store.require(fields=list(cuts))
        fields, rows = [], []
        for name, cut in cuts.items():
            stored = store.items.field(name)
            if stored.kind == "number" or stored.vocabulary is None:
                raise ValueError(f"item field '{name}' holds numbers; a token table needs text or categories")
            row = stored.rows
            if cut.max_length is not None:
                row = row.first(cut.max_length) if cut.keep == "first" else row.last(cut.max_length)
            longest = int(row.lengths.max()) if len(row) else 0
            fields.append(CatalogField(name, stored.kind, stored.vocabulary, stored.vocab_size, longest))
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
        """A small catalogue of new items, with the same fields and vocabularies as this one."""
        return Catalog(self.fields, rows, self.text)

    def to(self, device: torch.device | str) -> Catalog:
        """Move the token ids; lengths stay on the host."""
        self.values = self.values.to(device)
        return self

    def tokens(self, items: Tensor) -> Tokens:
        """Tokens of ``items`` (N,), rows of the catalogue in any order, on the host."""
        lengths = self._item_lengths[items]
        ends = lengths.cumsum(0)
        total = int(ends[-1]) if len(items) else 0
        shift = self._starts[items] - (ends - lengths)
        index = torch.repeat_interleave(shift, lengths, output_size=total) + torch.arange(total)
        ids = self.values[index.to(self.values.device, non_blocking=True)]
        return Tokens(ids=ids.long(), lengths=self.lengths[items])
