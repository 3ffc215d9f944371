"""Two processes at one store: one works, the other is refused or waits, what is there stays whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from legorec.data import store as stores
from legorec.data.store import Store, StoreError
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.vectors import NewTable, Rows
from legorec.data.writing.folder import NewFolder
from legorec.files import lock
from tests.support.runs import ROOT, write_store
from tests.support.small_store import write

BUSY = "another process is writing it; wait for it or stop it"
# Writes the small store, and waits where it is told to.
WRITER = """
import os, sys
from pathlib import Path
from legorec.data.writing import writer
from legorec.files import lock
from tests.support.small_store import *
def wait(*_):
    print("here", flush=True)
    sys.stdin.readline()
{}
write(Path(sys.argv[1]), overwrite=True, number=2)
"""
BEFORE_THE_MANIFEST = """
real = writer.write_manifest
writer.write_manifest = lambda *given: (wait(), real(*given))[1]
"""
BETWEEN_THE_RENAMES = """
replace = os.replace
os.replace = lambda path, to: (replace(path, to), wait() if ".old-" in str(to) else None)[0]
"""


def writer(path: Path, code: str = BEFORE_THE_MANIFEST) -> subprocess.Popen[str]:
    """A process that writes a store; it has come to where it waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.format(code), path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_writer_is_refused_and_a_third_is_not(tmp_path):
    first = NewFolder(tmp_path / "store")
    with pytest.raises(StoreError, match=BUSY):
        NewFolder(tmp_path / "store", overwrite=True)
    other = NewFolder(tmp_path / "store-2")  # whose name begins with the same
    first.discard()
    third = NewFolder(tmp_path / "store")
    assert names(tmp_path) == sorted([third.temporary.name, other.temporary.name])
    third.discard()
    other.discard()
    assert names(tmp_path) == []


def test_a_writer_that_is_dropped_leaves_nothing(tmp_path):
    dropped = NewFolder(tmp_path / "store")
    (dropped.temporary / "items").mkdir()
    del dropped
    assert names(tmp_path) == []


def test_what_is_no_leftover_stays(tmp_path):
    kept = [
        "store.old-20240131",
        "store.tmp-mine",
        "store.tmp-0123456789abcdef0",
        "other.tmp-0123456789abcdef",
    ]
    left = ["store.tmp-0123456789abcdef", "store.tmp-0123456789abcdef.gone", "store.old-0123456789abcdef"]
    for name in (*kept, *left):
        (tmp_path / name / "items").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    NewFolder(tmp_path / "store").discard()
    assert names(tmp_path) == sorted([*kept, "store"])


@pytest.mark.slow
def test_a_processor_beside_another_is_refused(tmp_path):
    out = tmp_path / "store"
    process = writer(out)
    small = ["--items", "20", "--users", "5", "--impressions", "9", "--candidates", "3", "--out", out]
    command = [sys.executable, ROOT / "process" / "synthetic.py", *small]
    other = subprocess.run([*command, "--overwrite"], cwd=ROOT, capture_output=True, text=True)
    assert other.returncode == 2 and other.stderr == f"error: {out}: {BUSY}\n"
    process.communicate("\n", timeout=60)
    assert process.returncode == 0 and names(tmp_path) == ["store"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert other.returncode == 2 and "it exists; give another name, or --overwrite" in other.stderr
    assert Store.open(out, verify="full").manifest["made_with"]["number"] == 2


@pytest.mark.slow
def test_what_a_killed_writer_left_is_removed(tmp_path):
    before = write(tmp_path / "store").digest
    process = writer(tmp_path / "store")
    process.kill()
    process.communicate()
    assert len(names(tmp_path)) == 2 and Store.open(tmp_path / "store").digest == before
    with pytest.raises(StoreError, match="it exists"):
        write(tmp_path / "store")
    write(tmp_path / "store", overwrite=True, number=3)
    assert names(tmp_path) == ["store"]


@pytest.mark.slow
def test_a_store_that_was_about_to_be_replaced_is_put_back(tmp_path):
    before = write(tmp_path / "store").digest
    process = writer(tmp_path / "store", BETWEEN_THE_RENAMES)
    process.kill()
    process.communicate()
    assert not (tmp_path / "store").exists() and len(names(tmp_path)) == 2
    with pytest.raises(StoreError, match="it exists"):
        write(tmp_path / "store")
    assert names(tmp_path) == ["store"] and Store.open(tmp_path / "store", verify="full").digest == before


@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False])
def test_many_writers_leave_one_whole_store(tmp_path, locks):
    code = "" if locks else "lock.fcntl = None\n"
    command = [sys.executable, "-c", WRITER.format(code), tmp_path / "store"]
    given = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **given) for _ in range(4)]  # type: ignore[call-overload]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in processes]
    assert any(status == 0 for _, status in ends)
    for err, status in ends:
        told = BUSY if locks else "OSError|FileNotFoundError"
        assert status == 0 or any(text in err.splitlines()[-1] for text in told.split("|")), err
    assert Store.open(tmp_path / "store", verify="full").manifest["made_with"]["number"] == 2
    if locks:
        write(tmp_path / "store", overwrite=True)
        assert names(tmp_path) == ["store"]


def test_a_store_that_is_replaced_is_not_mixed_with_the_new_one(tmp_path):
    opened = write(tmp_path / "store")
    title = opened.items.field("title@words").rows.values.copy()
    shutil.rmtree(tmp_path / "store")
    write_store(tmp_path / "store")
    assert (opened.items.field("title@words").rows.values == title).all()  # it was mapped before
    message = f"{tmp_path / 'store'}: the store was replaced while it was in use; start again"
    reads = {
        "ids": lambda: opened.items.ids,
        "field": lambda: opened.items.field("category"),
        "text": lambda: opened.items.text("title"),
        "visible": lambda: opened.items.visible,
        "histories": lambda: opened.histories,
        "split": lambda: opened.interactions("train"),
        "vocabulary": lambda: opened.vocabulary("category"),
        "tokenizer": lambda: opened.tokenizer("words"),
    }
    for read in reads.values():
        with pytest.raises(StoreError, match=message):
            read()


def test_a_store_that_is_replaced_while_it_is_opened(tmp_path, monkeypatch):
    write(tmp_path / "store")
    verify = stores.verify_files

    def replaced(*given):
        monkeypatch.setattr(stores, "verify_files", verify)
        write(tmp_path / "store", overwrite=True, number=2)
        return verify(*given)

    monkeypatch.setattr(stores, "verify_files", replaced)
    changed = Store.open(tmp_path / "store")  # here the other one has the same files
    assert "number" not in changed.manifest["made_with"]
    shutil.rmtree(tmp_path / "store")
    write_store(tmp_path / "store")

    def replaced_by_another(*given):
        monkeypatch.setattr(stores, "verify_files", verify)
        write(tmp_path / "store", overwrite=True)
        return verify(*given)

    monkeypatch.setattr(stores, "verify_files", replaced_by_another)
    with pytest.raises(StoreError, match="the store was replaced while it was in use; start again"):
        Store.open(tmp_path / "store")


def test_tokenizations_that_are_added_at_once_are_both_there(tmp_path, monkeypatch):
    store = write(tmp_path / "store")
    store.tokenizer("words").save(str(tmp_path / "tokenizer.json"))
    real = Store.open

    def slowly(path, *given):
        opened = real(path, *given)
        time.sleep(0.3)
        return opened

    monkeypatch.setattr(Store, "open", slowly)
    with ThreadPoolExecutor(2) as pool:
        added = [
            pool.submit(add_tokenization, store.path, "title", TokenizerChoice(name, tmp_path))
            for name in "ab"
        ]
        assert [each.result() for each in added] == [None, None]
    assert {"title@a", "title@b"} <= set(real(store.path, verify="full").items.field_names)


def test_a_store_is_not_replaced_while_a_tokenization_is_added(tmp_path):
    write(tmp_path / "store")
    with ThreadPoolExecutor(1) as pool:
        with lock.locked(tmp_path / "store", wait=True) as alone:
            replacing = pool.submit(write, tmp_path / "store", True)
            time.sleep(0.5)
            assert alone and not replacing.done()
        replacing.result(timeout=30)
    assert names(tmp_path) == ["store"]


def test_the_slower_of_two_tables_does_not_replace(tmp_path):
    new, other = (NewTable("mine", "words", tmp_path, tmp_path / "layers", "") for _ in range(2))
    new.write(torch.zeros(2, 3), Rows(2, "x"))
    with pytest.raises(ValueError, match="mine.safetensors: it exists; give another --name"):
        other.write(torch.ones(2, 3), Rows(2, "x"))
    assert names(tmp_path) == ["layers", "mine.safetensors"]
