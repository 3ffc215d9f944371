"""How a run reads a store, where nobody has said it: the ``data`` layer that fits what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from legorec.data.store import Store, StoreError

UNFIT = re.compile(r"[^\w@+=.,-]")  # for a name that folders are called after
LAYER = "data.yaml"  # in the folder of a store
TEXT_LENGTH, LIST_LENGTH = 30, 10  # tokens that are read of a field, where nobody says how many


def layer_of(store: Store, fields: Iterable[str] | None = None) -> dict[str, Any]:
    """A data layer that reads a store.

    Args:
        fields: of the items, as the store calls them; None: all.
    Raises:
        StoreError: the store has no such field, or none at all.
    """
    named = store.items.field_names if fields is None else list(fields)
    store.require(fields=named)
    kinds, lengths = store.items.kinds, {"text": TEXT_LENGTH, "categories": LIST_LENGTH}
    read = {name: {"max_length": lengths[kinds[name]]} if kinds[name] in lengths else {} for name in named}
    if not read:
        raise StoreError(f"{store.path}: its items have no field that could be read; name `data` or fields")
    name = UNFIT.sub("-", store.path.name).lstrip(".")[:100] or "data"
    return {"name": name, "store": str(store.path), "fields": read}
