"""Write ``docs/catalogue.md``: every brick, its arguments and what it fits, and the models made of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from legorec.compose.documents import read_document
from legorec.registry import KINDS, find, names
from legorec.registry.listing import details, glance, offers, table, title
from legorec.settings.brick_places import block_at, brick_places

PAGE = Path(__file__).with_suffix(".md")
MODELS = Path(__file__).parents[1] / "config" / "model"
DEFAULT = re.compile(r"\$\{\w+:(\w+)\}\$?")  # of a reference
HEAD = """\
# Catalogue

Written by `python docs/catalogue.py` from the source of the bricks; what is wrong here is wrong there.
`python -m legorec.registry` lists them in a terminal, and `python -m legorec.registry item_encoder nrms`
prints one, also one of your own by its dotted path. What the kinds are is in [bricks.md](bricks.md), how to
add a brick in [add-a-brick.md](add-a-brick.md).
"""


def page() -> str:
    """The whole catalogue in Markdown."""
    parts = [HEAD, *(glance(kind, linked=True) for kind in KINDS.values()), _models(), offers()]
    for kind in KINDS.values():
        parts.append(f"## The {title(kind).lower()} one by one\n")
        parts += [details(find(kind.name, name)) for name in names(kind.name)]
    return "\n".join(parts)


def models(folder: Path = MODELS) -> dict[str, dict[str, str]]:
    """The bricks by kind of each model file that has some, those of parts joined; imports are resolved.

    Names of bricks hold no references, but for ``join``, whose default is shown.
    """
    trees = {path.stem: read_document(str(path), []).tree for path in sorted(folder.glob("*.yaml"))}
    return {stem: found for stem, tree in trees.items() if (found := _bricks(tree))}


def _bricks(tree: dict[str, Any]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for place, kind in brick_places(tree):
        name = block_at(tree, f"{place}.name")
        if name is not None:
            found.setdefault(kind, []).append(DEFAULT.sub(r"\1", name))
    return {kind: " + ".join(each) for kind, each in found.items()}


def _models() -> str:
    found = models()
    kinds = [kind for kind in KINDS.values() if any(kind.name in each for each in found.values())]
    rows = [[f"`{stem}`", *(each.get(kind.name, "") for kind in kinds)] for stem, each in found.items()]
    head = "## Named models\n\n`lego_nrms` is `--model config/model/lego_nrms.yaml`, and so on.\n\n"
    return head + table(["model", *(kind.said for kind in kinds)], rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
