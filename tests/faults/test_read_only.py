"""What is read may lie where nothing can be written: config, store, tables, weights, caches, trained runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from legorec.data.store import Store
from legorec.data.text import vocab_size
from tests.support.runs import ROOT, run_folders, write_store

# RefConfig opens config files for writing, and a library may note something beside what it reads. A read-only
# mount refuses that, but not every system lets a test have one; a hook refuses it everywhere.
GUARD = """
import os, sys
place = os.path.realpath(sys.argv[1]) + os.sep
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = "mkdir remove rename rmdir truncate chmod chown link symlink utime".split()

def guard(event, given):
    if event.removeprefix("os.") in CHANGING or event == "open" and given[2] & WRITING:
        for path in given[: 1 if event == "open" else 2]:
            if isinstance(path, (str, bytes)) and os.path.realpath(os.fsdecode(path)).startswith(place):
                raise OSError(30, "Read-only file system", path)

sys.addaudithook(guard)
"""
MOUNT = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"
"""
START = """
import pathlib, sys, legorec, worker
from tests.support.language_runs import language_arguments
from tests.support.runs import arguments, finish, only_run
here, out = pathlib.Path.cwd(), pathlib.Path(sys.argv[2])
def ours(argv):  # of the read-only copy of the config folder
    return [each.replace(ROOT + "/config", str(here / "config")) for each in argv]
"""
WORDS = """
run = here / sys.argv[3]
embed = ["--embed", str(here / "config" / "embed" / "words.yaml")]
finish(ours(arguments(here / "store", out / "runs", epoch=1)) + embed)
finish(ours(arguments(here / "store", out / "predicted", exp="predict", load=run)))
assert len(legorec.load(run, device="cpu").recommend(["i1"], k=3)) == 3
"""
LANGUAGE = """
name, layers = "bert", {"embed_hidden_size": 32}
base = (here / "store", here / "weights", here / "cache")
whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, **layers}
split = language_arguments(*base, out / "none", "bert-naml", "bert-split", exp__cache__layers="[-1]", **whole)
assert worker.main(ours(split)) == 0  # all is there
train = {"lr": 0.001, "item_lr": 0.0001, "batch_size": 8, "acc_batch": 2, "epoch_batch": -4, "epoch": 1}
upper = language_arguments(*base, out / "runs", "bert-naml", "tt-llm", layer=2, **layers, **train)
assert worker.main(ours(upper)) == 0
run = only_run(out / "runs")
assert len(legorec.load(run, device="cpu").recommend(["i1"], k=3)) == 3
"""


def read_only(folder: Path, code: str, *more: str, mounted: bool, start: str = START) -> None:
    """Run code where ``folder`` and the home, which is in it, cannot be written; and see that nothing was."""
    (folder / "home").mkdir(exist_ok=True)
    out = folder.parent / f"out-{mounted}"
    env = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    guard = "" if mounted else GUARD
    program = guard + start.replace("ROOT", repr(str(ROOT))) + code
    command = [sys.executable, "-c", program, str(folder), str(out), *more]
    if mounted:
        unshare = shutil.which("unshare")
        probe = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(folder), "true"]
        if unshare is None or subprocess.run(probe, capture_output=True).returncode:
            pytest.skip("this system does not let a process have mounts of its own (unshare -rm)")
        command = [*probe[:-1], *command]
    before = state(folder)
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert state(folder) == before
    assert start != START or run_folders(out)


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder, with what tells that it was written."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        facts = path.stat()
        found[str(path)] = (facts.st_mtime_ns, facts.st_ino, path.read_bytes() if path.is_file() else b"")
    return found


@pytest.fixture(scope="module")
def words(tmp_path_factory, done) -> tuple[Path, str]:
    """Config, store, a table of vectors and a trained run in one folder; the place of the run in it."""
    folder = tmp_path_factory.mktemp("words") / "data"
    shutil.copytree(ROOT / "config", folder / "config")
    write_store(folder / "store")
    rows = vocab_size(Store.open(folder / "store").tokenizer("words"))
    np.save(folder / "words.npy", np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32))
    (folder / "config" / "embed" / "words.yaml").write_text(
        f"name: words\ntables: [{{vocabulary: words, path: {folder / 'words.npy'}}}]\n"
    )
    shutil.copytree(done.parents[2], folder / "runs")
    return folder, str(Path("runs") / done.relative_to(done.parents[2]))


@pytest.mark.slow
@pytest.mark.parametrize("mounted", [False, True], ids=["watched", "mounted"])
def test_a_word_level_model(words, mounted):
    """Trained, and a run that lies there used for predictions."""
    folder, run = words
    read_only(folder, WORDS, run, mounted=mounted)


CHANGES = """
changes = [
    lambda: open("a.yaml", "r+"), lambda: open("a.yaml", "a"), (here / "b").mkdir, (here / "a.yaml").unlink,
    lambda: (here / "a.yaml").rename(here / "b"), lambda: (here / "b").symlink_to(out),
]
for change in changes:
    try:
        change()
    except OSError as error:
        assert error.errno == 30
    else:
        sys.exit("it was written")
"""


@pytest.mark.parametrize("mounted", [False, True], ids=["watched", "mounted"])
def test_what_is_written_there_is_refused(tmp_path, mounted):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.yaml").write_text("a: 1\n")
    read_only(
        tmp_path / "data",
        CHANGES,
        mounted=mounted,
        start="import pathlib, sys\nhere, out = map(pathlib.Path, sys.argv[1:3])\n",
    )


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> Path:
    """Config, a store, a tiny language model and a cache of its states in one folder."""
    import worker
    from tests.support.language_runs import language_arguments, write_language_model, write_language_store

    folder = tmp_path_factory.mktemp("language") / "data"
    shutil.copytree(ROOT / "config", folder / "config")
    write_language_model(folder / "weights", "bert")
    write_language_store(folder / "store", bert=folder / "weights")
    whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32}
    base = (folder / "store", folder / "weights", folder / "cache", folder / "none")
    argv = language_arguments(*base, "bert-naml", "bert-split", exp__cache__layers="[-1]", **whole)
    assert worker.main(argv) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mounted", [False, True], ids=["watched", "mounted"])
def test_a_language_model_with_its_cache(language, mounted):
    read_only(language, LANGUAGE, mounted=mounted)
