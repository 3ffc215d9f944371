"""What was written is read back; what was damaged is refused by name."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from legorec.data.store import Store, StoreError
from legorec.files import digest
from legorec.files.manifest import seal
from tests.support.small_store import ITEMS, files, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "small"
    write(path)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A store of one's own, to damage."""
    write(tmp_path / "small")
    return tmp_path / "small"


def lists(store: Store, field: str) -> list[list[float]]:
    return [row.tolist() for row in store.items.field(field).rows]


def test_tables(folder: Path) -> None:
    store = Store.open(folder)
    assert store.items.field_names == ("title@words", "title@chars", "category", "genres", "price")
    assert list(store.items.ids) == ITEMS["id"].to_list() and store.items.ids[3] == "é"
    assert store.items.text("title")[:] == ["Hello, world", "", "A b c", "secret é", ""]
    assert store.items.index(["x", "nobody", "a", "é"]).tolist() == [4, -1, 0, 3]
    assert store.items.index(["x"]).dtype == np.int64 and len(store.items.index([])) == 0
    assert store.vocabulary("category") == ["news", "sport"] and store.vocabulary("genres") == ["q", "r"]
    assert lists(store, "category") == [[0], [], [1], [0], []]
    assert lists(store, "genres") == [[0, 1], [], [], [0], [1]]
    assert lists(store, "price") == [[1.5], [], [2.0], [], [0.0]]
    field = store.items.field("title@words")
    assert (field.kind, field.vocabulary, field.rows.values.dtype) == ("text", "words", np.int32)
    assert field.vocab_size == store.tokenizer("words").get_vocab_size()
    assert list(store.users.ids) == ["u", "v"]


def test_interactions(folder: Path) -> None:
    store = Store.open(folder)
    assert store.splits == ("train", "dev")
    train = store.interactions("train")
    assert train.user.tolist() == [0, 1, 0, 0] and train.labels.tolist() == [1, 0, 1, 1, 0]
    assert [row.tolist() for row in train.candidates] == [[1, 2], [0], [2], [4]]
    assert list(train.ids or []) == ["10", "11", "12", "13"] and train.time.tolist() == [5, 6, 7, 8]
    histories = [store.histories[start:stop].tolist() for start, stop in store.spans[train.span]]
    assert histories == [[0], [], [0, 1], [0]]
    dev = store.interactions("dev")
    assert dev.ids is None and dev.time is None and dev.labelled
    assert store.histories[slice(*store.spans[dev.span[0]])].tolist() == [0, 1, 3, 2]
    assert len(store.histories) == 4, "growing histories of a user share their storage"
    assert len(store.spans) == 4 and train.span[1] == dev.span[1]


def test_arrays_are_mapped_and_read_only(folder: Path) -> None:
    store = Store.open(folder)
    for array in (store.histories, store.spans, store.items.field("category").rows.values):
        assert not array.flags.owndata and not array.flags.writeable


def test_opening_reads_no_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(folder)
    monkeypatch.setattr("legorec.data.store.map_arrays", lambda path: pytest.fail(f"{path} was read"))
    store = Store.open(folder, verify="size")
    assert len(store.items) == 5 and len(store.users) == 2 and store.splits and store.digest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "histories.safetensors").unlink(), r"histories\.safetensors: the file is missing"),
        (lambda p: os.truncate(p / "items/ids.safetensors", 50), r"ids\.safetensors: it has 50 bytes"),
        (lambda p: (p / "manifest.json").unlink(), r"manifest\.json: the file is missing; it is not a data"),
        (lambda p: (p / "manifest.json").write_text("{"), r"manifest\.json: not readable \(Expecting"),
        (lambda p: (p / "manifest.json").write_text("[1]"), r"`format` must be 'legorec-store'"),
    ],
)
def test_damage_is_named(copy: Path, damage: object, message: str) -> None:
    damage(copy)  # type: ignore[operator]
    with pytest.raises(StoreError, match=message):
        Store.open(copy)


def test_a_flipped_bit_is_found(copy: Path) -> None:
    Store.open(copy)
    path = copy / "interactions/train.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"train\.safetensors: its content was altered"):
        Store.open(copy)
    Store.open(copy, verify="size")


def test_a_flip_that_keeps_size_and_time_is_found_in_full(copy: Path) -> None:
    path = copy / "histories.safetensors"
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(StoreError, match=r"histories\.safetensors: its content was altered"):
        Store.open(copy, verify="full")


def test_an_altered_manifest_is_found(copy: Path) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["made_with"]["processor"] = "another"
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"manifest\.json: it was altered \(its digest differs\); process"):
        Store.open(copy)
    path.write_text(json.dumps(seal(manifest | {"version": 99})))
    with pytest.raises(StoreError, match="format version 99 is unknown"):
        Store.open(copy)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd"])
def test_r12_a_manifest_names_only_its_own_files(copy: Path, name: str) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"bytes": 1, "blake2b": "0"}
    path.write_text(json.dumps(seal(manifest)))
    with pytest.raises(StoreError, match="leaves the store"):
        Store.open(copy)


def test_r12_links_are_refused(copy: Path) -> None:
    path = copy / "histories.safetensors"
    path.rename(copy.parent / "moved")
    path.symlink_to(copy.parent / "moved")
    with pytest.raises(StoreError, match=r"histories\.safetensors: a symbolic link"):
        Store.open(copy)


def test_what_is_missing_is_answered_with_the_nearest(folder: Path) -> None:
    store = Store.open(folder)
    with pytest.raises(StoreError, match=r"no field 'title@word'; did you mean 'title@words'\? There are"):
        store.items.field("title@word")
    with pytest.raises(StoreError, match=r"no split 'dav'; did you mean 'dev'\?"):
        store.interactions("dav")
    with pytest.raises(StoreError, match=r"no vocabulary 'genre'; did you mean 'genres'\?"):
        store.vocabulary("genre")
    with pytest.raises(StoreError, match=r"no tokenizer 'bert'"):
        store.tokenizer("bert")
    with pytest.raises(StoreError, match=r"no text 'titel'; did you mean 'title'\?"):
        store.items.text("titel")
    with pytest.raises(StoreError, match="there is no such folder"):
        Store.open(folder / "nowhere")
    with pytest.raises(StoreError, match="`verify` must be size, digest or full"):
        Store.open(folder, verify="fast")  # type: ignore[arg-type]


def test_require_names_all_problems(folder: Path) -> None:
    store = Store.open(folder)
    store.require(["title@words", "genres"], {"processor": "small", "max_missing": 0.01}, ["train"])
    with pytest.raises(StoreError) as caught:
        store.require(["title@bert"], {"processor": "mind", "procesor": 1}, ["test"], ["age"])
    message = str(caught.value)
    assert "item field 'title@bert' is not there" in message
    assert "user field 'age' is not there; There are: none" in message
    assert "split 'test' is not there" in message
    assert "made with `processor` = 'small', requested is 'mind'" in message
    assert "not made with a setting `procesor`; did you mean 'processor'?" in message


def test_a_read_only_folder_opens(copy: Path) -> None:
    before = files(copy)
    for path in [*copy.rglob("*"), copy]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        store = Store.open(copy, verify="full")
        assert store.histories.sum() == 6 and list(store.items.ids)
        assert files(copy) == before
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_digests_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    old = time.time() - 10
    os.utime(path, (old, old))
    monkeypatch.setattr(digest, "SETTLED_NS", 0)
    first = digest.digest_files([path])
    monkeypatch.setattr(digest, "digest_file", lambda path: pytest.fail("read again"))
    assert digest.digest_files([path]) == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.write_bytes(b"two")
    assert digest.digest_files([path]) != first


def test_what_was_altered_after_its_digest_was_taken_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is hashed for minutes before its digests are remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "SETTLED_NS", 0)
    paths = [tmp_path / name for name in ("whole", "altered")]
    for path in paths:
        path.write_bytes(b"one")
        os.utime(path, (1, 1))
    since, found = time.time_ns(), {path: digest.digest_file(path) for path in paths}
    paths[1].write_bytes(b"two")
    os.utime(paths[1], ns=(since + 1, since + 1))
    digest.remember(found, since)
    read: list[Path] = []
    plain = digest.digest_file
    monkeypatch.setattr(digest, "digest_file", lambda path: (read.append(path), plain(path))[1])
    assert digest.digest_files(paths) != found and read == [paths[1]]


def test_a_cache_that_cannot_be_used_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "small")
    Store.open(tmp_path / "small")


def test_the_store_is_imported_without_torch_or_transformers() -> None:
    code = (
        "import sys, legorec.data.writing.writer; print({'torch', 'transformers', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
