"""A checkpoint is whole or not there (R2), and what was altered is refused by name."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from legorec.engine import checkpoint
from legorec.engine.checkpoint import Checkpoint, CheckpointError
from legorec.files import manifest


def made(number: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(number)
    weights = {"a": torch.randn(4, 3, generator=generator), "b": torch.randn(5, generator=generator)}
    optimizer = {
        "a/step": torch.tensor(float(number)),
        "a/exp_avg": torch.randn(3, 4, generator=generator).t(),
    }
    return Checkpoint(
        {"weights": weights, "optimizer": optimizer}, {"step": number, "epochs": [{"loss": 0.1}]}
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    flat = [
        {(group, name): value for group, part in each.tensors.items() for name, value in part.items()}
        for each in (one, other)
    ]
    return (
        flat[0].keys() == flat[1].keys()
        and all(torch.equal(value, flat[1][key]) for key, value in flat[0].items())
        and one.state == other.state
    )


def name(number: int) -> str:
    return f"batch-{number:010d}"


def test_saved_and_loaded(tmp_path):
    path = checkpoint.save(tmp_path / "deep" / "er", name(1), made(1))
    assert path == tmp_path / "deep" / "er" / name(1)
    assert same(checkpoint.load(path), made(1))
    assert checkpoint.read_state(path) == made(1).state
    assert sorted(each.name for each in path.parent.iterdir()) == [name(1)]


def test_no_tensors_at_all(tmp_path):
    empty = Checkpoint({"weights": {}, "optimizer": {}}, {})
    assert same(checkpoint.load(checkpoint.save(tmp_path, "x", empty)), empty)


class Fault(Exception):
    pass


class Faulty:
    """Counts calls and raises instead of the call at one place, or right after it."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after, self.count = at, after, 0

    def wrap(self, function):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at and not self.after:
                raise Fault
            result = function(*args, **kwargs)
            if self.count == self.at:
                raise Fault
            return result

        return call

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(os, "replace", self.wrap(os.replace))
        patch.setattr(os, "fsync", self.wrap(os.fsync))
        patch.setattr(Path, "write_text", self.wrap(Path.write_text))
        patch.setattr(checkpoint, "save_file", self.wrap(checkpoint.save_file))
        patch.setattr(manifest, "digest_file", self.wrap(manifest.digest_file))


def number_of_calls(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        faulty = Faulty(-1, False)
        faulty.install(patch)
        checkpoint.save(folder, name(1), made(1))
    return faulty.count


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("killed", [False, True])
def test_r2_a_fault_at_any_call_leaves_the_last_complete_checkpoint(tmp_path, after, killed):
    calls = number_of_calls(tmp_path / "counted")
    assert calls >= 14
    for at in range(1, calls + 1):
        folder = tmp_path / f"run-{at}"
        checkpoint.save(folder, name(1), made(1))
        with pytest.MonkeyPatch.context() as patch:
            if killed:  # a killed process does not clean up
                patch.setattr(checkpoint.shutil, "rmtree", lambda *args, **kwargs: None)
            Faulty(at, after).install(patch)
            with pytest.raises(Fault):
                checkpoint.save(folder, name(2), made(2))
        done = checkpoint.complete(folder)
        assert [path.name for path in done] in ([name(1)], [name(1), name(2)])
        assert same(checkpoint.load(done[-1]), made(len(done)))
        assert killed or not [path for path in folder.iterdir() if ".tmp" in path.name]
        again = checkpoint.save(folder, name(2), made(2))
        assert same(checkpoint.load(again), made(2))
        checkpoint.prune(folder, {name(2)})
        assert [path.name for path in folder.iterdir()] == [name(2)]


@pytest.mark.parametrize("kind", ["tmp", "old"])
def test_r2_a_temporary_folder_is_never_chosen(tmp_path, kind):
    whole = checkpoint.save(tmp_path, name(1), made(1))
    shutil.copytree(whole, tmp_path / f"{name(9)}.{kind}-123")
    assert checkpoint.complete(tmp_path) == [whole]


def test_complete_ones_are_sorted_by_age(tmp_path):
    assert checkpoint.complete(tmp_path / "nowhere") == []
    names = [name(2), f"{name(2)}-measured", name(10), f"{name(10)}-measured"]
    for each in reversed(names):
        checkpoint.save(tmp_path, each, made(1))
    (tmp_path / name(99)).mkdir()
    (tmp_path / "note.txt").write_text("no checkpoint")
    assert [path.name for path in checkpoint.complete(tmp_path)] == names


def test_a_complete_one_is_not_written_again(tmp_path):
    path = checkpoint.save(tmp_path, name(1), made(1))
    before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
    assert checkpoint.save(tmp_path, name(1), made(1)) == path
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_the_rest_of_a_removed_one_is_replaced(tmp_path):
    path = checkpoint.save(tmp_path, name(1), made(1))
    (path / checkpoint.MANIFEST).unlink()
    assert checkpoint.complete(tmp_path) == []
    assert same(checkpoint.load(checkpoint.save(tmp_path, name(1), made(1))), made(1))


FILES = ["weights.safetensors", "optimizer.safetensors", "state.json"]


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_refused_by_name(tmp_path, file):
    path = checkpoint.save(tmp_path, name(1), made(1))
    content = (path / file).read_bytes()
    for place in {0, len(content) // 2, len(content) - 1}:
        flipped = bytearray(content)
        flipped[place] ^= 1
        (path / file).write_bytes(flipped)
        with pytest.raises(CheckpointError, match=rf"{file}: its content was altered \(digest"):
            checkpoint.load(path)
    (path / file).write_bytes(content)
    assert same(checkpoint.load(path), made(1))


@pytest.mark.parametrize("file", FILES)
def test_a_short_or_missing_file_is_refused_by_name(tmp_path, file):
    path = checkpoint.save(tmp_path, name(1), made(1))
    content = (path / file).read_bytes()
    (path / file).write_bytes(content[:-1])
    message = rf"{file}: it has {len(content) - 1} bytes, the manifest says {len(content)}"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)
    (path / file).unlink()
    with pytest.raises(CheckpointError, match=rf"{file}: the file is missing; the checkpoint cannot be used"):
        checkpoint.load(path)


def test_a_state_that_was_altered_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, name(1), made(1))
    state = path / checkpoint.STATE
    state.write_text(state.read_text().replace("1", "2"))
    with pytest.raises(CheckpointError, match="state.json: its content was altered"):
        checkpoint.read_state(path)


def test_a_manifest_never_leads_to_other_contents(tmp_path):
    """Whichever bit of it is flipped or wherever it is cut, loading gives the same or names a file."""
    path = checkpoint.save(tmp_path, name(1), made(1))
    file = path / checkpoint.MANIFEST
    content, loaded = file.read_bytes(), 0
    variants = [content[:length] for length in range(0, len(content) - 1, 7)]
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        variants.append(bytes(flipped))
    for variant in variants:
        file.write_bytes(variant)
        try:
            assert same(checkpoint.load(path), made(1))
            loaded += 1
        except CheckpointError as error:
            assert str(path) in str(error)
    assert loaded < len(variants) / 10


def test_a_manifest_of_another_version_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, name(1), made(1))
    file = path / checkpoint.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="manifest.json was altered, or written by another version"):
        checkpoint.load(path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, name(1), made(1))
    (path / checkpoint.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="is not a complete checkpoint: it has no manifest.json"):
        checkpoint.load(path)


def test_training_on_does_not_write_into_the_checkpoint(tmp_path):
    """Loaded tensors may be mapped files; what happens to them must stay in memory."""
    path = checkpoint.save(tmp_path, name(1), made(1))
    for part in checkpoint.load(path).tensors.values():
        for value in part.values():
            value.add_(1)
    assert same(checkpoint.load(path), made(1))


def test_prune_keeps_what_is_named(tmp_path):
    for number in range(4):
        checkpoint.save(tmp_path, name(number), made(number))
    (tmp_path / f"{name(7)}.tmp-1").mkdir()
    (tmp_path / "note.txt").write_text("not ours")
    checkpoint.prune(tmp_path, {name(1), name(3)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [name(1), name(3), "note.txt"]
    checkpoint.prune(tmp_path / "nowhere", set())


def test_a_removal_that_is_cut_short_leaves_nothing_complete(tmp_path, monkeypatch):
    for number in range(2):
        checkpoint.save(tmp_path, name(number), made(number))

    def killed(*args, **kwargs):
        raise Fault

    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(Fault):
        checkpoint.prune(tmp_path, {name(1)})
    assert [path.name for path in checkpoint.complete(tmp_path)] == [name(1)]


def test_what_a_removal_left_is_removed_and_nothing_else(tmp_path):
    for number in range(3):
        checkpoint.save(tmp_path, name(number), made(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", lambda *args, **kwargs: None)
        checkpoint.prune(tmp_path, {name(1), name(2)})
    assert len(list(tmp_path.iterdir())) == 3 and checkpoint.newest(tmp_path) == tmp_path / name(2)
    checkpoint.prune(tmp_path, {name(1), name(2)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [name(1), name(2)]
    checkpoint.prune(tmp_path / "nowhere", set())
