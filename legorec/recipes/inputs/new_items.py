"""Items that are in no store, from their fields: cut and encoded as those of the store were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.item_text import ItemText, stored_field
from legorec.data.ragged import Ragged
from legorec.data.text import encode
from legorec.recipes.inputs.store_data import Data


def catalogs_of(data: Data, items: Sequence[Mapping[str, Any]]) -> list[Catalog]:
    """A catalogue of these items alone for each of the store's, with its fields and vocabularies.

    Raises:
        ValueError: an item has a field that the model does not read, or a value of another kind.
    """
    check_fields(items, names_read(data))
    return [_fresh(data, catalog, items) for catalog in data.catalogs]


def names_read(data: Data) -> list[str]:
    """The fields of a store that a model reads."""
    return list(dict.fromkeys(name for catalog in data.catalogs for name in _names(catalog)))


def _names(catalog: Catalog) -> list[str]:
    """The fields of a store that a catalogue reads."""
    if catalog.text is not None:
        return list(catalog.text.field_names)
    return [part.stored.partition("@")[0] for part in catalog.fields]


def _fresh(data: Data, catalog: Catalog, items: Sequence[Mapping[str, Any]]) -> Catalog:
    text, names = catalog.text, _names(catalog)
    if text is not None:
        rows = [tokens_of(data, text, items)]
    else:
        rows = [
            _tokenize(data, part, [item.get(name) for item in items])
            for part, name in zip(catalog.fields, names, strict=True)
        ]
    return catalog.with_items(rows).to(catalog.values.device)


def tokens_of(data: Data, text: ItemText, items: Sequence[Mapping[str, Any]]) -> Ragged:
    """The tokens of new items by a template.

    Raises:
        ValueError: a value is of another kind than the store's.
    """
    names = text.field_names
    stored = [stored_field(data.store, name, text.tokenizer_name) for name in names]
    kinds = dict(zip(names, (field.kind for field in stored), strict=True))
    return text.of([{name: _written(name, kinds[name], item.get(name)) for name in names} for item in items])


def check_fields(items: Sequence[Mapping[str, Any]], read: Sequence[str]) -> None:
    """Raises ValueError: an item has a field that the model does not read."""
    for item in items:
        for name in item:
            if name not in read:
                raise ValueError(f"a new item has the field '{name}'; the model reads {', '.join(read)}")


def _tokenize(data: Data, part: CatalogField, values: Sequence[Any]) -> Ragged:
    """The tokens or numbers of one field of new items, cut as in training; without unknown categories."""
    if part.kind == "number":
        return Ragged.from_lists([_numbers(part.name, value) for value in values], np.float32)
    lists = [_texts(part.name, part.kind, value) for value in values]
    if part.kind == "text":
        row = encode(data.store.tokenizer(part.vocabulary), ["".join(each) for each in lists])
    else:
        place = {value: row for row, value in enumerate(data.store.vocabulary(part.vocabulary))}
        found = [[place[value] for value in each if value in place] for each in lists]
        flat = np.array([value for each in found for value in each], dtype=np.int32)
        row = Ragged.from_lengths(flat, [len(each) for each in found])
    cut = data.settings.fields[part.name]
    if cut.max_length is None:
        return row
    return row.first(cut.max_length) if cut.keep == "first" else row.last(cut.max_length)


def _texts(name: str, kind: str, value: Any) -> list[str]:
    """What is given for one field as a list of texts; None is empty."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    several = kind == "categories" and isinstance(value, Sequence)
    if several and all(isinstance(each, str) for each in value):
        return list(value)
    wanted = "a text or a list of texts" if kind == "categories" else "a text"
    raise ValueError(f"the field '{name}' of a new item must be {wanted}, got {value!r}")


def _numbers(name: str, value: Any) -> list[float]:
    """What is given for one field as the float32 that a store would hold; None is none."""
    if value is None:
        return []
    known = isinstance(value, Real) and not isinstance(value, bool)
    if not known or not abs(value) <= float(np.finfo(np.float32).max):
        raise ValueError(f"the field '{name}' of a new item must be a finite number, got {value!r}")
    return [float(np.float32(value))]


def _written(name: str, kind: str, value: Any) -> list[str]:
    """What is given for one field as texts that a template is filled with."""
    if kind == "number":
        return [f"{number:g}" for number in _numbers(name, value)]
    return [text for text in _texts(name, kind, value) if text]
