"""A cache that is not as it was written (R7) is refused by name."""

import json
import os
import re

import pytest
import torch

from legorec.files.digest import digest_file
from legorec.files.manifest import canonical, seal
from legorec.lm.state_cache import CacheError, CacheWriter, HiddenStateCache
from tests.lm.state_cache.test_finding import refusal
from tests.support.state_caches import LENGTHS, SHARD_BYTES, build, check, identity, of_items, states, writer


def rewrite(path, change):
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(canonical(content))


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def swap(one, other):
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def link(path):
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


SHARD = "shard-00001.safetensors"
DAMAGE = {
    "truncated": (
        lambda f: os.truncate(f / SHARD, 200),
        r"shard-00001\.safetensors: it has 200 bytes, the man",
    ),
    "longer": (lambda f: (f / SHARD).open("ab").write(b"1"), r"shard-00001\.safetensors: it has \d+ bytes"),
    "last bit": (lambda f: flip(f / SHARD), r"shard-00001\.safetensors: its content was altered \(digest"),
    "header": (lambda f: flip(f / SHARD, 30), r"shard-00001\.safetensors: its header is not that of"),
    "swapped": (lambda f: swap(f / SHARD, f / "shard-00003.safetensors"), r"shard-0000\d\.safetensors: it"),
    "missing": (lambda f: (f / SHARD).unlink(), r"shard-00001\.safetensors: the file is missing; start the"),
    "a link": (lambda f: link(f / SHARD), r"shard-00001\.safetensors: a symbolic link"),
    "manifest": (
        lambda f: rewrite(f / "manifest.json", lambda c: c.update(num_tokens=1)),
        r"manifest\.json: it was altered \(its digest differs\); remove that file",
    ),
    "manifest cut": (lambda f: os.truncate(f / "manifest.json", 50), r"manifest\.json: not readable"),
    "another file": (lambda f: (f / "manifest.json").write_text("{}"), r"manifest\.json: `format` must be"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("verify", ["digest", "full"])
def test_r7_damage_is_found_and_named(root, folder, damage, verify):
    HiddenStateCache.open(root, identity())
    act, message = DAMAGE[damage]
    act(folder)
    found = refusal(root, verify=verify)
    assert re.search(message, found) and "start the cache run again" in found or damage == "another file"


@pytest.mark.parametrize("damage", ["truncated", "longer", "header", "swapped", "missing"])
def test_r7_sizes_and_headers_are_looked_at_in_any_case(root, folder, damage):
    DAMAGE[damage][0](folder)
    assert re.search(DAMAGE[damage][1], refusal(root, verify="size"))


def test_r7_shards_of_equal_size_that_were_swapped(tmp_path):
    lengths = LENGTHS[:1].repeat(8) + 4
    cache = CacheWriter(tmp_path, identity(), lengths, shard_bytes=80)
    values = states(lengths=lengths)
    for index, items in enumerate(cache.shards):
        cache.write(index, of_items(values, items, lengths))
    assert cache.finish()
    one, other = (cache.folder / f"shard-0000{index}.safetensors" for index in (0, 3))
    assert one.stat().st_size == other.stat().st_size
    swap(one, other)
    for verify in ("size", "digest", "full"):
        assert "shard-00000.safetensors: its header is not that of this shard" in refusal(tmp_path, verify)


def test_r7_every_bit_of_a_shard_counts(root, folder):
    path = folder / SHARD
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flip(path, place)
        assert SHARD in refusal(root)
        path.write_bytes(whole)
    HiddenStateCache.open(root, identity())


def test_r7_a_flip_that_keeps_size_and_time_is_found_in_full(root, folder):
    facts = (folder / SHARD).stat()
    flip(folder / SHARD)
    os.utime(folder / SHARD, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert "its content was altered" in refusal(root, verify="full")


@pytest.mark.parametrize("damage", ["truncated", "longer", "last bit", "header", "missing", "manifest"])
def test_r7_the_way_out_that_is_named_works(root, folder, damage):
    DAMAGE[damage][0](folder)
    named = re.match(r"(\S+): ", refusal(root))
    assert named is not None
    if os.path.exists(named[1]):
        os.unlink(named[1])
    build(root)
    items = torch.arange(len(LENGTHS))
    assert torch.equal(check(root).gather(items), states().bfloat16())


def test_r7_a_shard_built_anew_may_differ(root, folder):
    """Another device rounds otherwise: facts and manifest follow the file that is there."""
    (folder / SHARD).unlink()
    build(root, values=states(seed=1))
    cache, items = check(root), writer(root).shards[1]
    expected = states().bfloat16()
    of_items(expected, items).copy_(of_items(states(seed=1).bfloat16(), items))
    assert torch.equal(cache.gather(torch.arange(len(LENGTHS))), expected)


def test_an_altered_plan(tmp_path):
    begun = writer(tmp_path)
    begun.write(0, of_items(states(), begun.shards[0]))
    path = begun.folder / "identity.json"
    rewrite(path, lambda content: content.update(num_items=3))
    message = rf"identity\.json: it was altered \(its digest differs\); remove {begun.folder} and start"
    assert re.search(message, refusal(tmp_path))
    with pytest.raises(CacheError, match=r"identity\.json: it was altered .*; remove the folder"):
        writer(tmp_path)


def test_another_version_of_the_files(root, folder):
    def change(content):
        del content["identity"]["compute"]
        content.update(seal(content))

    rewrite(folder / "manifest.json", change)
    assert "written by another version of this program; remove that file" in refusal(root)


def test_a_manifest_that_does_not_fit_its_shards(root, folder):
    def change(content):
        content["num_items"] += 1
        content.update(seal(content))

    rewrite(folder / "manifest.json", change)
    assert "17 items with 38 tokens, manifest.json says 18 with 38; remove the folder" in refusal(root)


def test_offsets_that_were_altered_under_a_new_digest(root, folder):
    path = folder / SHARD
    header = int.from_bytes(path.read_bytes()[:8], "little") + 8
    flip(path, header)  # the first offset is 1 now

    def change(content):
        content["shards"][1]["blake2b"] = digest_file(path)
        content.update(seal(content))

    rewrite(folder / "manifest.json", change)
    assert "its offsets were altered" in refusal(root)


def test_another_plan_is_refused(root):
    with pytest.raises(CacheError, match="begun with other shards .other lengths or `shard_bytes`.; give"):
        CacheWriter(root, identity(), LENGTHS, shard_bytes=SHARD_BYTES * 2)
    with pytest.raises(CacheError, match="begun with other num_items, num_tokens, shards"):
        CacheWriter(root, identity(), LENGTHS[:-2], SHARD_BYTES)
