"""Each mistake that a user of the worker can make is one message and status 2, and nothing saved is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from legorec.engine import checkpoint
from tests.support.runs import arguments, contents, finish, only_run, refused, write_store

# flags that are wrong, and what must be said of them
WRONG = {
    "unknown flag": ({"hiden_size": 3}, "--hiden_size: nothing reads it", "did you mean '--hidden_size'?"),
    "wrong type": ({"epoch": "many"}, "exp.policy.epoch: must be a whole number, got 'many'"),
    "unknown brick": ({"model.user_encoder.name": "nrsm"}, "no user_encoder 'nrsm'", "did you mean 'nrms'?"),
    "unknown metric": ({"exp.metrics": "[gauk]"}, "unknown metric 'gauk'; the nearest is 'gauc'"),
    "unknown baseline": ({"exp.baselines": "[popular]"}, "'repeat_last' or 'bm25_last', got 'popular'"),
    "heads": ({"heads": 5}, "`heads` must divide `hidden_dim` (16), got 5"),
    "width": ({"hidden_size": 0}, "hidden_dim: must be at least 1, got 0"),
    "negative width": ({"embed_hidden_size": -3}, "embed_dim: must be at least 1, got -3"),
    "dropout": ({"model.item_encoder.dropout": 1.5}, "`dropout` must be at least 0 and below 1, got 1.5"),
    "negatives": ({"neg_count": 0}, "`num_negatives` must be at least 1"),
    "no such field": ({"data.fields": "{title@bert: {}}"}, "'title@bert' is not there; did you mean 'title@"),
    "no such split": ({"data.splits.test": "tset"}, "split 'tset' is not there; did you mean 'test'?"),
    "other settings": ({"data.made_with": "{seed: 1}"}, "made with `seed` = 0, requested is 1"),
    "no store": ({"data.store": "no/such"}, "no/such: there is no such folder", "process/"),
    "store is a file": ({"data.store": __file__}, f"{__file__}: there is no such folder"),
    "no device": ({"device": "cuda:99"}, "`device` 'cuda:99' cannot be used here"),
    "item_lr": ({"item_lr": 1e-3}, "`item_lr` (0.001) has nothing to act on"),
    "load where none is read": ({"exp.load": "x"}, "exp.load: is read in the modes dev, test,"),
    "no table": ({"embed.tables": "[{vocabulary: words, path: none.npy}]"}, "no file none.npy"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_message_and_nothing_is_written(store, tmp_path, capsys, case):
    flags, *texts = WRONG[case]
    argv = arguments(
        store, tmp_path / "runs", **{key.replace(".", "__"): value for key, value in flags.items()}
    )
    refused(argv, capsys, *texts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", ["{}/file", "{}/file/below", "/proc/none"])
def test_runs_that_cannot_be_written(store, tmp_path, capsys, place):
    (tmp_path / "file").write_text("")
    refused(arguments(store, place.format(tmp_path)), capsys, "cannot be written: ", "--runs")


def test_an_altered_store_is_refused_by_name(store, tmp_path, capsys):
    copied = tmp_path / "store"
    shutil.copytree(store, copied)
    argv = arguments(copied, tmp_path / "runs")
    file = copied / "interactions" / "train.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(argv, capsys, f"{file}: its content was altered")
    file.write_bytes(whole[:-1])
    refused(argv, capsys, str(file), f"the manifest says {len(whole):,}")
    file.unlink()
    refused(argv, capsys, f"{file}: the file is missing")
    file.write_bytes(whole)
    manifest = copied / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"count": 24', '"count": 25'))
    refused(argv, capsys, f"{manifest}: it was altered")
    manifest.unlink()
    refused(argv, capsys, f"{manifest}: the file is missing")
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_measured_is_refused_before_training(tmp_path, capsys):
    single = write_store(tmp_path / "single", num_candidates=1)
    refused(arguments(single, tmp_path / "runs"), capsys, "split 'dev'", "`gauc` needs", "data.group_by")
    unlabelled = write_store(tmp_path / "unlabelled", labelled=False)
    refused(arguments(unlabelled, tmp_path / "runs"), capsys, "split 'test': its labels are not known")
    assert not (tmp_path / "runs").exists()


def test_a_run_is_loaded_into_its_own_make_only(store, done, tmp_path, capsys):
    def argv(at: Path = store, **flags: object) -> list[str]:
        return arguments(at, tmp_path / "runs", exp="test", **{"load": done, **flags})

    refused(argv(heads=2), capsys, "trained with model.item_encoder.heads 4, asked for is 2")
    refused(
        argv(model="lego_naml"), capsys, "trained with model.item_encoder.name 'nrms', asked for is 'naml'"
    )
    refused(argv(data__fields="{category: {}}"), capsys, "was trained with data.fields title@words, category")
    refused(argv(load=tmp_path), capsys, f"{tmp_path} is not the folder of a run")
    refused(argv(load=tmp_path / "no"), capsys, "no folder", "it is the folder of a trained run")
    refused(argv(load=None), capsys, "--load")
    other = write_store(tmp_path / "other", seed=1)
    refused(argv(other), capsys, "another store than", "'tokenizers/words/tokenizer.json' differs")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_never_measured_an_epoch_is_not_loaded(store, copy, tmp_path, capsys):
    shutil.rmtree(copy / "checkpoints")
    argv = arguments(store, tmp_path / "other", exp="test", load=copy)
    refused(argv, capsys, f"{copy} holds no complete checkpoint")


def test_resuming_on_a_store_that_was_made_anew_is_refused(tmp_path, capsys):
    store = write_store(tmp_path / "store")
    argv = arguments(store, tmp_path / "runs")
    run = finish(argv)
    (run / "metrics.json").unlink()
    shutil.rmtree(store)
    write_store(store, seed=1)
    before = contents(run / "checkpoints")
    refused([*argv, "--resume", "true"], capsys, "another store than", "or it has changed since")
    assert contents(run / "checkpoints") == before
    assert "stopped: " in (run / "run.log").read_text()


def test_overwrite_that_cannot_begin_keeps_what_is_there(tmp_path, capsys):
    store = write_store(tmp_path / "store")
    argv = arguments(store, tmp_path / "runs")
    run = finish(argv)
    before = contents(run)
    shutil.rmtree(store)
    refused([*argv, "--overwrite", "true"], capsys, f"{store}: there is no such folder")
    write_store(store, clicked=False)
    refused([*argv, "--overwrite", "true"], capsys, "holds no click")
    assert contents(run) == before


def test_a_full_disk_is_a_message_and_keeps_the_last_checkpoint(store, tmp_path, capsys, monkeypatch):
    save_file, calls = checkpoint.save_file, []

    def full(tensors, file):
        calls.append(file)
        if len(calls) > 2:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(tensors, file)

    argv = arguments(store, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        refused(argv, capsys, "could not be written", "No space left on device", "saved before is untouched")
    (left,) = (only_run(tmp_path) / "checkpoints").iterdir()
    assert checkpoint.load(left).state["progress"]["epoch"] == 0
