"""Fields of users for an existing store, from a table of their own."""

from __future__ import annotations

from pathlib import Path

from legorec.data.layout import StoreError
from legorec.data.store import Store
from legorec.data.tokenizations import removed_unless_named
from legorec.data.writing.progress import Progress
from legorec.data.writing.tables import write_column
from legorec.data.writing.user_table import UserTable
from legorec.data.writing.vocabularies import Vocabularies
from legorec.files.digest import remember
from legorec.files.lock import locked
from legorec.files.manifest import MANIFEST, canonical, fact_of, save_json, seal
from legorec.files.whole import save_whole


def add_user_fields(
    path: str | Path, table: UserTable, max_missing: float = 0.01, progress: Progress | None = None
) -> None:
    """Add the fields of a table to the users of a store, who stay the same and keep their order.

    New files are written first and the manifest is replaced last, so a failure leaves the store unchanged. A
    lock keeps other processes from doing the same, or replacing the store, meanwhile.

    Args:
        max_missing: the share of the store's users that may be without a row.

    Raises:
        StoreError: the store has such a field, another vocabulary of that name, or too many users without a
            row.
        WriteError: the disk is full or not writable.
    """
    with locked(Path(path), wait=True):
        _add(Store.open(path), table, max_missing, progress or Progress())


def _add(store: Store, table: UserTable, max_missing: float, progress: Progress) -> None:
    folder, manifest = store.path, store.manifest
    names = [column.name for column in table.columns]
    there = {name.casefold() for name in store.users.field_names}
    for place, name in enumerate(names):
        if name.casefold() in there | {each.casefold() for each in names[:place]}:
            raise StoreError(f"{folder}: the field '{name}' of users is there already; name it NAME=COLUMN")
    frame, dropped = table.of_users(store.users.ids.series(), max_missing)
    known = [part["name"] for part in manifest["vocabularies"]]
    vocabularies = Vocabularies()
    vocabularies.categories = {name: store.vocabulary(name) for name in names if name in known}
    fresh = [each.name for each in table.columns if each.kind != "number" and each.name not in known]
    alike = {name.casefold() for name in known}
    if taken := [name for name in fresh if name.casefold() in alike]:
        raise StoreError(
            f"{folder}: a vocabulary is called as '{taken[0]}' but for capitals, which some disks do not "
            "know; name the field NAME=COLUMN"
        )
    new_files = [f"users/{name}.safetensors" for name in names]
    new_files += [f"vocabularies/{name}.json" for name in fresh]
    with removed_unless_named(folder, new_files):
        for column in table.columns:
            progress.say(f"users: {column.name}")
            fact = write_column(folder / "users", column, table.columns, frame, vocabularies)
            manifest["users"]["fields"].append(fact)
        for name in fresh:
            categories = vocabularies.categories[name]
            save_json(folder / "vocabularies" / f"{name}.json", categories)
            manifest["vocabularies"].append({"name": name, "size": len(categories)})
        rows = manifest["dropped"]["rows"]
        for what, count in dropped.items():
            rows[what] = rows.get(what, 0) + count
        facts = {file: fact_of(folder / file) for file in new_files}
        manifest["files"].update(facts)
        save_whole(folder / MANIFEST, canonical(seal(manifest)))
    remember({folder / file: fact["blake2b"] for file, fact in facts.items()})
