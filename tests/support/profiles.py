"""A tiny store with numbers of its items and attributes of its users, made from tables as a user would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from process.tables import main
from tests.support.runs import ROOT, WORDS, small_flags

ITEM_FIELDS = "{title@words: {max_length: 6}, category: {}, tags: {}, price: {}}"
USER_FIELDS = "{topics: {max_length: 2}, region: {}, age: {}}"


def write_profile_store(folder: Path, num_items: int = 40, num_users: int = 20, price: float = 1.0) -> Path:
    """The store; some prices, topics, regions and ages are missing, and the first user has none of them.

    Users come one after the other, so that some are first met in the test split, without a history.
    """
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    items = [
        {
            "item": f"i{number}",
            "title": " ".join(rng.choice(WORDS, int(rng.integers(0, 6)))),
            "category": f"c{rng.integers(4)}",
            "tags": [f"t{each}" for each in rng.integers(0, 5, int(rng.integers(0, 3)))],
            "price": None if number % 7 == 3 else round(price * float(rng.lognormal(2)), 2),
        }
        for number in range(num_items)
    ]
    users = [
        {
            "user": f"u{number}",
            "topics": [f"topic {each}" for each in rng.integers(0, 6, int(rng.integers(0, 4)))]
            * (number > 0),
            "region": f"r{rng.integers(3)}" if number % 5 else None,
            "age": int(rng.integers(18, 80)) if number % 5 > 1 else None,
        }
        for number in range(num_users)
    ]
    for name, rows in (("items", items), ("users", users)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    log = [
        {"user": f"u{user}", "item": f"i{item}", "time": str(9 * user + 4 * place)}
        for user in range(num_users)
        for place, item in enumerate(rng.choice(num_items, 7, replace=False))
    ]
    pl.DataFrame(log).write_csv(folder / "log.csv")
    store = folder / "store"
    main(
        [
            "--items", str(folder / "items.jsonl"), "--text", "title", "--category", "category",
            "--categories", "tags", "--number", "price",
            "--users", str(folder / "users.jsonl"), "--user_categories", "topics",
            "--user_category", "region", "--user_number", "age",
            "--interactions", str(folder / "log.csv"), "--split", "time", "--time", "time",
            "--shares", "0.5,0.2,0.3", "--num_negatives", "9", "--out", str(store),
        ]
    )  # fmt: skip
    return store


def profile_arguments(store: Path, runs: Path, exp: str = "tt-naml", **flags: Any) -> list[str]:
    """The command line of a small run that reads all of it; ``data__name`` stands for ``--data.name``."""
    layers = {"data": "data/synthetic", "model": "model/lego_naml", "exp": f"exp/{exp}"}
    found = [part for name, file in layers.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    given: dict[str, Any] = {
        "data__store": store,
        "runs": runs,
        "device": "cpu",
        **{key: value for key, value in small_flags(exp).items() if key not in ("heads", "hidden_size")},
        "data__fields": ITEM_FIELDS,
        "data__user_fields": USER_FIELDS,
        "model__item_encoder": "{name: fields, hidden_dim: 16}",
        "model__user_plugin": "{name: profile, embed_dim: 8}",
        **flags,
    }
    for key, value in given.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('__', '.')}", text]
    return found
