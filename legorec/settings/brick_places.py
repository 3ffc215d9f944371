"""Where the bricks of a model stand in its layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from legorec.registry import KINDS

PARTS = "parts"  # of items that have several sources
ONLY = ""  # the name of the one part of others


def brick_places(model: Any) -> Iterator[tuple[str, str]]:
    """The place of each brick in a model layer as a plain tree, and its kind; bricks that are not there too.

    Args:
        model: anything, as it may not have been checked yet.
    """
    parts = model.get(PARTS) if isinstance(model, Mapping) else None
    names = [str(name) for name in parts] if isinstance(parts, Mapping) and parts else [ONLY]
    for kind, row in KINDS.items():
        yield from ((place_of(name, kind), kind) for name in names) if row.of_part else ((kind, kind),)


def place_of(part: str, kind: str) -> str:
    """The place of a part's brick."""
    return f"{PARTS}.{part}.{kind}" if part != ONLY else kind


def block_at(tree: Any, place: str) -> Any:
    """What stands at a dotted place; None where there is nothing."""
    for key in place.split("."):
        if isinstance(tree, list):
            tree = tree[int(key)] if key.isdigit() and int(key) < len(tree) else None
        else:
            tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
