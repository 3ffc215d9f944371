"""What comes after a processor: the store's ``data`` layer, and the command that trains on it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from legorec.data.layer import LAYER, layer_of
from legorec.data.store import Store
from legorec.files.whole import save_whole

PLAIN = re.compile(r"[A-Za-z_][\w/@.+-]*")
WORDS = ("null", "true", "false")  # which YAML takes for something else


def next_lines(store: Store, called: str | None = None) -> list[str]:
    """Write the layer where there is none, and say what can be done next.

    Args:
        called: how the running processor was called, where that is not by its file.
    """
    if not store.items.field_names:
        return ["next: nothing of the items can be read; name their columns (--text, --category, ...)"]
    lines = [f"wrote {store.path / LAYER}, which says how a run reads it"] if save_layer(store) else []
    command = next_command(store, called)
    return lines + ([f"next: {command}"] if command else [])


def save_layer(store: Store) -> bool:
    """Write the layer of a store whose items have fields, unless one is there; whether it was written."""
    path = store.path / LAYER
    if path.exists() or not store.items.field_names or "${" in str(store.path):  # that is a reference
        return False
    save_whole(path, layer_text(store).encode())
    return True


def next_command(store: Store, called: str | None = None) -> str | None:
    """A command that trains on a store; None where it has no labelled impressions to train and choose by."""
    facts = store.manifest["interactions"]
    labelled = [name for name in store.splits if facts[name]["labelled"] and facts[name]["count"]]
    if not {"train", "dev"} <= {*labelled}:
        return None
    exp = "tt-naml" if "test" in labelled else "train"
    worker = ["python", "worker.py"] if called is None and Path("worker.py").is_file() else ["legorec", "run"]
    return shlex.join([*worker, "--data", str(store.path), "--model", "lego_naml", "--exp", exp])


def layer_text(store: Store) -> str:
    """The layer as YAML: each text in the first of its tokenizations, the rest of the store in comments."""
    names = store.items.field_names
    first = {name.partition("@")[0]: name for name in reversed(names)}
    read = [name for name in names if first[name.partition("@")[0]] == name]
    tree = layer_of(store, read)
    name = tree["name"]
    lines = [
        "# How this store is read. The file goes with the store, and with --overwrite a new store brings",
        f"# a new one: to change it, copy it to config/data/{name}.yaml and say --data {name}.",
        "$$import: config/data/parts/clicks.yaml",
        f"name: {_spelled(name)}",
        f"store: {_spelled(tree['store'])}",
    ]
    lines += ["group_by: user"] if _one_each(store) else []
    lines.append("fields:")
    for field, how in tree["fields"].items():
        length = f"max_length: {how['max_length']}" if how else ""
        lines.append(f"  {_spelled(field)}: {{{length}}}")
    if others := [each for each in names if each not in read]:
        lines.append(f"# also there: {', '.join(others)}")
    if users := store.users.field_names:
        lines.append(f"# of the users, for the user plugin `profile`: {', '.join(users)}")
    return "\n".join(lines) + "\n"


def _one_each(store: Store) -> bool:
    """Whether an impression is one rated item, so that only those of a user can be ranked."""
    facts = [store.manifest["interactions"][name] for name in store.splits if name != "train"]
    return bool(facts) and all(each["candidates"] == each["count"] for each in facts)


def _spelled(text: str) -> str:
    """A text as YAML reads it back."""
    return (
        text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)
    )
