"""Runs that ask a server on loopback for new titles of the items of a small store, for tests."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.runs import ROOT

SCHEME: dict[str, Any] = {
    "name": "titles",
    "of": "items",
    "system": "Write better titles.",
    "user": "[title] {title:20} [category] {category}",
    "answer": {"form": "labelled", "fields": {"newtitle": {}}},
}
KEY = "LAB_ACCOUNT"  # the variable that holds the key; it is not called like a secret


def written(prompt: str) -> str:
    """An answer that can be parsed."""
    return f"[newtitle] better {prompt.removeprefix('[title] ')}"


def exp_file(folder: Path, url: str, **changes: Any) -> Path:
    """An ``exp`` layer that generates; ``generator__retries`` stands for that setting of the generator."""
    block: dict[str, Any] = {
        "scheme": copy.deepcopy(SCHEME),
        "generator": {"kind": "endpoint", "base_url": url, "model": "small", "key_env": KEY, "retries": 1},
        "parameters": {"max_tokens": 30},
        "log": str(folder / "answers.jsonl"),
    }
    for place, value in changes.items():
        *blocks, name = place.split("__")
        inner = block
        for each in blocks:
            inner = inner.setdefault(each, {})
        inner[name] = value
    path = folder / "generate.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"name": "generate-titles", "mode": "generate", "generate": block}))
    return path


def command(store: Path, folder: Path, url: str, **changes: Any) -> list[str]:
    """The worker's command line of a run."""
    exp = exp_file(folder, url, **changes)
    data = ["--data", f"{ROOT}/config/data/synthetic.yaml", "--data.store", str(store)]
    return [*data, "--exp", str(exp), "--device", "cpu"]


def report(folder: Path) -> dict[str, Any]:
    """What the last run left beside its log."""
    return json.loads((folder / "answers.report.json").read_text())
