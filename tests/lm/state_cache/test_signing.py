"""Nothing is signed that was not computed: what was altered is refused, and only that is built anew (R7)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from legorec.files.json_text import parse_json
from legorec.files.manifest import canonical, seal
from legorec.lm.state_cache import CacheError, HiddenStateCache
from legorec.lm.state_cache.signing import Signatures
from tests.support.state_caches import build, check, identity, of_items, states, writer

SHARD, OTHER = "shard-00001.safetensors", "shard-00002.safetensors"


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def flip_as_of_before(folder: Path) -> None:
    facts = (folder / SHARD).stat()
    flip(folder / SHARD)
    os.utime(folder / SHARD, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def of_another_build(folder: Path) -> None:
    """A whole shard with everything in its place, which another device computed."""
    other = build(folder.parent / "other", values=states(seed=1))
    (folder / SHARD).write_bytes((other / SHARD).read_bytes())
    shutil.rmtree(folder.parent / "other")


def swap(folder: Path) -> None:
    (folder / SHARD).rename(folder / "aside")
    (folder / OTHER).rename(folder / SHARD)
    (folder / "aside").rename(folder / OTHER)


def link(folder: Path) -> None:
    (folder / SHARD).rename(folder.parent / "elsewhere")
    (folder / SHARD).symlink_to(folder.parent / "elsewhere")


def flip_and_lose_notes(folder: Path) -> None:
    flip(folder / SHARD)
    for note in folder.glob("shard-*.json"):
        note.unlink()


def flip_and_lose_manifest(folder: Path) -> None:
    flip(folder / SHARD)
    (folder / "manifest.json").unlink()


def wrong_note_and_manifest(folder: Path) -> None:
    """No digest is left by which the shard could be known."""
    note = folder / "shard-00001.json"
    note.write_bytes(canonical(parse_json(note.read_bytes()) | {"blake2b": "0" * 32}))
    flip(folder / "manifest.json", place=5)


ALTERED: dict[str, tuple[Callable[[Path], object], set[int]]] = {
    "a bit of a state": (lambda folder: flip(folder / SHARD), {1}),
    "a bit under the old time": (flip_as_of_before, {1}),
    "an offset": (lambda folder: flip(folder / SHARD, -30), {1}),
    "the header": (lambda folder: flip(folder / SHARD, 30), {1}),
    "cut": (lambda folder: os.truncate(folder / SHARD, 200), {1}),
    "of another build": (of_another_build, {1}),
    "swapped": (swap, {1, 2}),
    "a link": (link, {1}),
    "its notes gone": (flip_and_lose_notes, {1}),
    "no manifest": (flip_and_lose_manifest, {1}),
    "no digest left": (wrong_note_and_manifest, {1}),
    "a note alone": (lambda folder: flip(folder / "shard-00001.json"), set()),
    "the manifest alone": (lambda folder: flip(folder / "manifest.json", 40), set()),
}


@pytest.mark.parametrize("what", ALTERED)
def test_r7_what_is_altered_is_refused_and_it_alone_is_built_anew(root, folder, what):
    before = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    manifest = (folder / "manifest.json").read_bytes()
    alter, expected = ALTERED[what]
    alter(folder)
    if what != "a note alone":
        with pytest.raises(CacheError):
            HiddenStateCache.open(root, identity())
    cache = writer(root)
    assert set(cache.missing()) == expected and cache.finish() is (not expected)
    assert {path.name for path in cache.altered()} == {f"shard-{index:05d}.safetensors" for index in expected}
    build(root)
    assert {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} == before
    assert (folder / "manifest.json").read_bytes() == manifest
    check(root)


def test_r7_an_unfinished_cache_is_held_to_what_its_builder_noted(tmp_path):
    begun = writer(tmp_path)
    for index in (0, 1):
        begun.write(index, of_items(states(), begun.shards[index]))
    flip(begun.folder / SHARD)
    assert 0 not in writer(tmp_path).missing() and 1 in writer(tmp_path).missing()
    build(tmp_path)
    assert torch.equal(check(tmp_path).gather(torch.arange(17)), states().bfloat16())


def test_a_cache_that_was_moved_is_read_and_not_built_again(root, folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "root"
    shutil.copytree(root, copy)
    assert writer(copy).missing() == [] and writer(copy).finish()
    check(copy)


def test_notes_of_earlier_versions_are_held_against_the_file(root, folder):
    """They had a shorter stamp and no digest of their own."""
    for note in folder.glob("shard-*.json"):
        content = parse_json(note.read_bytes())
        del content["digest"], content["stamp"][2]
        note.write_bytes(canonical(content))
    (folder / "manifest.json").unlink()
    assert writer(root).missing() == []
    flip(folder / SHARD)
    assert writer(root).missing() == [1]


def test_a_note_is_believed_only_under_its_own_digest(root, folder):
    """Its digest goes into the manifest without the file being read."""
    note, cache = folder / "shard-00001.json", writer(root)
    content = parse_json(note.read_bytes()) | {"blake2b": "0" * 32}
    note.write_bytes(canonical(content))
    assert Signatures(folder).of(cache._files[1]) != "0" * 32
    note.write_bytes(canonical(seal(content)))
    assert Signatures(folder).of(cache._files[1]) == "0" * 32, "not to be told from the truth by its form"


def test_a_folder_in_the_place_of_a_shard_is_left_to_the_user(root, folder):
    (folder / SHARD).unlink()
    (folder / SHARD).mkdir()
    for act in (lambda: HiddenStateCache.open(root, identity()), lambda: writer(root).missing()):
        with pytest.raises(CacheError, match=r"shard-00001\.safetensors: a folder, where a file"):
            act()


def test_a_builder_that_is_about_to_sign_is_waited_for(tmp_path, monkeypatch):
    """Without locks, a second builder comes between file and signature."""
    one, other = writer(tmp_path), writer(tmp_path)
    first = torch.ones_like(of_items(states(), one.shards[0]))
    sign = Signatures.sign

    def signs_late(self: Signatures, *given):
        monkeypatch.setattr(Signatures, "sign", sign)
        waited = []
        monkeypatch.setattr("time.sleep", lambda _: waited or (waited.append(1), sign(self, *given)))
        other.write(0, first * 2)
        assert waited

    monkeypatch.setattr(Signatures, "sign", signs_late)
    one.write(0, first)
    assert 0 not in writer(tmp_path).missing()
    build(tmp_path)
    assert (check(tmp_path).gather(torch.tensor(list(one.shards[0]))) == 1).all()
