"""Links do not stand in for files that we wrote (R12); a folder may be one, and so may files of the hub."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

import legorec
import worker
from legorec.data.raw.lines import InputError
from legorec.data.raw.unitok_depot import Depot
from legorec.data.store import Store, StoreError
from legorec.engine import checkpoint
from legorec.engine.checkpoint import Checkpoint, CheckpointError
from legorec.files.manifest import MANIFEST
from legorec.lm.pretrained import find_pretrained
from legorec.lm.state_cache import CacheError, HiddenStateCache
from process import movielens
from tests.process.test_movielens import write_100k
from tests.support import state_caches as small
from tests.support.raw_files import made
from tests.support.runs import arguments, finish, write_store
from tests.support.small_store import write
from tests.support.tiny import tiny
from tests.support.unitok_depots import ITEMS, WORDS, version_3, version_4


def linked(path: Path) -> Path:
    """Put a file or folder elsewhere, with a link in its place."""
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return path


@pytest.mark.parametrize(
    "part", [MANIFEST, "items", "items/ids.safetensors", "tokenizers/words/tokenizer.json"]
)
def test_r12_links_within_a_store(tmp_path, part):
    write(tmp_path / "in" / "store")
    path = linked(tmp_path / "in" / "store" / part)
    with pytest.raises(
        StoreError, match=re.escape(f"{path}: a symbolic link; the files of a data store must")
    ):
        Store.open(tmp_path / "in" / "store")


@pytest.mark.parametrize("part", ["manifest.json", "state.json", "weights.safetensors"])
def test_r12_links_within_a_checkpoint(tmp_path, part):
    weights = {"weights": {"a": torch.arange(4.0)}}
    saved = checkpoint.save(tmp_path / "checkpoints", "batch-1", Checkpoint(weights, {}))
    path = linked(saved / part)
    with pytest.raises(
        CheckpointError, match=re.escape(f"{path}: a symbolic link; the files of a checkpoint")
    ):
        checkpoint.load(saved)


@pytest.mark.parametrize("part", ["manifest.json", "shard-00001.safetensors"])
def test_r12_links_within_a_cache(tmp_path, part):
    path = linked(small.build(tmp_path / "root") / part)
    with pytest.raises(
        CacheError, match=re.escape(f"{path}: a symbolic link; the files of a cache of hidden states must")
    ):
        HiddenStateCache.open(tmp_path / "root", small.identity())


def test_a_cache_may_lie_behind_a_link_and_a_dead_link_in_it_is_a_missing_shard(tmp_path):
    folder = small.build(tmp_path / "root")
    (folder / "manifest.json").unlink()
    linked(folder / "shard-00001.safetensors")
    (tmp_path / "root" / "elsewhere-shard-00001.safetensors").unlink()  # that disk is away
    small.build(tmp_path / "root")
    linked(folder)
    (tmp_path / "link").symlink_to(tmp_path / "root")
    small.check(tmp_path / "link")


@pytest.mark.parametrize(
    ("make", "part"),
    [(version_3, "meta.data.json"), (version_3, "data.npy"), (version_3, "tok.bert.dat"),
     (version_4, "meta.json"), (version_4, "data.pkl"), (version_4, "bert.vocab")],
)  # fmt: skip
def test_r12_links_within_a_depot(tmp_path, make, part):
    path = linked(make(tmp_path / "in" / "items", ITEMS, WORDS) / part)
    with pytest.raises(
        InputError, match=re.escape(f"{path}: a symbolic link; the files of a depot must be files")
    ):
        Depot.open(path.parent).words("bert")
    linked(make(tmp_path / "whole" / "items", ITEMS, WORDS))
    assert len(Depot.open(tmp_path / "whole" / "items")) == 4


@pytest.mark.parametrize("sharded", [False, True])
def test_a_language_model_of_links_as_the_hub_keeps_it(tmp_path, sharded):
    """A snapshot is a folder of links to blobs that are named by their digests."""
    folder = tiny("llama", tmp_path / "model", sharded=sharded).folder
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "snapshots" / "main").mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = tmp_path / "hub" / "blobs" / f"{number:040d}"
        shutil.copy(file, blob)
        (tmp_path / "hub" / "snapshots" / "main" / file.name).symlink_to(f"../../blobs/{blob.name}")
    (tmp_path / "weights").symlink_to(tmp_path / "hub" / "snapshots" / "main")
    whole, links = find_pretrained(str(folder)), find_pretrained(str(tmp_path / "weights"))
    assert links.digest() == whole.digest() and torch.equal(links.token_table(), whole.token_table())
    assert len(links.weight_files) == len(whole.weight_files) > (1 if sharded else 0)


def test_places_that_are_links_to_a_larger_disk(tmp_path):
    """The store, the runs, and a folder in between; a run, its prediction and its resumption."""
    for name in ("store", "runs", "raw"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "store").rmdir()
    write_store(tmp_path / "disk" / "store")
    run = finish(arguments(tmp_path / "store", tmp_path / "runs", epoch=1))
    linked(run.parent)
    linked(run / "checkpoints")
    finish(arguments(tmp_path / "store", tmp_path / "predicted", exp="predict", load=run))
    (run / "metrics.json").unlink()
    assert worker.main([*arguments(tmp_path / "store", tmp_path / "runs", epoch=1), "--resume", "true"]) == 0
    assert len(legorec.load(run, device="cpu").recommend(["i1"], k=3)) == 3


def test_a_raw_folder_of_links(tmp_path):
    plain = write_100k(tmp_path / "raw")
    (tmp_path / "links").mkdir()
    for file in plain.iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    digests = {
        made(movielens.main, tmp_path / f"of-{raw}", "--source", tmp_path / raw).digest
        for raw in ("raw", "links")
    }
    assert len(digests) == 1
