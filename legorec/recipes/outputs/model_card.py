"""The README of a saved model: what it is, what it reached, and how to ask it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from legorec.recipes.inputs.new_items import names_read
from legorec.recipes.inputs.store_data import Data

CARD = """\
---
library_name: legorec
tags: [recommender-systems]
---
# {model} on {data}

A recommender of {items:,} items, made with legorec {legorec}. It holds items and weights, and nothing of the
users that it was trained on.
{metrics}
## Use
```
import legorec

recommender = legorec.load("FOLDER OR NAME ON THE HUB")
print(recommender.recommend({history}, k=10))
```
A history is a list of raw ids, oldest first. New items are given by their fields: {fields}.
"""


def model_card(config: Mapping[str, Any], data: Data) -> str:
    """The text, from what ``config.json`` says.

    Args:
        data: two of its items stand in the example.
    """
    ids = data.store.items.ids
    history = json.dumps(list(ids[:2]), ensure_ascii=False)
    fields = ", ".join(f"`{name}`" for name in names_read(data))
    return CARD.format(**{**config, "metrics": table(config["metrics"])}, history=history, fields=fields)


def table(metrics: Mapping[str, Any]) -> str:
    """The metrics by split, and those of baselines beside; nothing where none are known."""
    rows = {name: metrics[name] for name in sorted(metrics) if name != "baselines"}
    rows |= {f"{name} (untrained)": each for name, each in sorted(metrics.get("baselines", {}).items())}
    names = sorted({name for each in rows.values() for name in each}, key=_by_number)
    if not names:
        return ""
    lines = ["", "## Metrics", "| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row, each in rows.items():
        cells = [f"{each[name]:.4f}" if name in each else "" for name in names]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _by_number(name: str) -> tuple[str, int]:
    """``ndcg@5`` before ``ndcg@10``."""
    metric, _, cut = name.partition("@")
    return metric, int(cut) if cut.isdecimal() else 0
