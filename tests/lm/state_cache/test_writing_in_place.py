"""One file in each place, whoever wrote it, and nothing beside it."""

import errno
import os

import pytest
import torch

from legorec.files import lock, temporary
from legorec.lm.state_cache import CacheError, CacheWriter
from tests.support.state_caches import LENGTHS, SHARD_BYTES, build, check, identity, of_items, states, writer


def test_the_first_one_written_stays(tmp_path):
    cache = writer(tmp_path)
    for value in (1.0, 2.0):
        cache.write(0, torch.full_like(of_items(states(), cache.shards[0]), value))
    build(tmp_path)
    assert (check(tmp_path).gather(torch.tensor(list(cache.shards[0]))) == 1).all()


def test_without_links(tmp_path, monkeypatch):
    def refuse(*arguments, **words):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    cache = writer(tmp_path)
    for value in (1.0, 2.0):
        cache.write(0, torch.full_like(of_items(states(), cache.shards[0]), value))
    build(tmp_path)
    assert (check(tmp_path).gather(torch.tensor(list(cache.shards[0]))) == 1).all()


def test_without_links_where_another_was_faster(tmp_path, monkeypatch):
    """Its file stays, under its signature."""
    cache, other = writer(tmp_path), [writer(tmp_path)]
    first = torch.ones_like(of_items(states(), cache.shards[0]))

    def refuse(*arguments, **words):
        if other:
            other.pop().write(0, first)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    cache.finish()
    cache.write(1, of_items(states(), cache.shards[1]))
    monkeypatch.setattr(os, "link", refuse)
    cache.write(0, first * 2)
    build(tmp_path)
    assert (check(tmp_path).gather(torch.tensor(list(cache.shards[0]))) == 1).all()


def test_facts_of_another_file_are_not_believed(tmp_path):
    """A shard was replaced and its builder killed before it noted the digest: it is written again."""
    cache = writer(tmp_path)
    for index in cache.missing():
        cache.write(index, of_items(states(), cache.shards[index]))
    facts = (cache.folder / "shard-00001.json").read_bytes()
    (cache.folder / "shard-00001.safetensors").unlink()
    cache.write(1, of_items(states(seed=1), cache.shards[1]))
    (cache.folder / "shard-00001.json").write_bytes(facts)
    (cache.folder / "shard-00002.json").unlink()
    (cache.folder / "shard-00003.json").write_text("{")
    other = writer(tmp_path)
    assert other.missing() == [1, 2, 3] and not other.finish()
    build(tmp_path)
    check(tmp_path)


def test_a_damaged_shard_is_written_anew(tmp_path):
    cache = writer(tmp_path)
    cache.write(0, of_items(states(), cache.shards[0]))
    os.truncate(cache.folder / "shard-00000.safetensors", 20)
    assert 0 in cache.missing()
    build(tmp_path)
    assert torch.equal(check(tmp_path).gather(torch.arange(17)), states().bfloat16())


def test_claims(tmp_path):
    cache, other = writer(tmp_path), writer(tmp_path)
    with cache.claim(0) as mine, other.claim(0) as theirs, other.claim(1) as next_one:
        assert (mine, theirs, next_one) == (True, False, True)
    with other.claim(0) as theirs:
        assert theirs
        cache.write(0, of_items(states(), cache.shards[0]))
    with cache.claim(0) as mine:
        assert not mine, "it is there"
    build(tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("kind", ["none", "refused"])
def test_claims_without_locks(tmp_path, monkeypatch, kind):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    if kind == "none":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    cache, other = writer(tmp_path), writer(tmp_path)
    with cache.claim(0) as mine, other.claim(0) as theirs:
        assert mine and theirs
    build(tmp_path)
    check(tmp_path)


def test_an_error_within_a_claim_lets_it_go(tmp_path):
    cache, other = writer(tmp_path), writer(tmp_path)
    with pytest.raises(KeyError), cache.claim(0):
        raise KeyError
    with other.claim(0) as mine:
        assert mine


def test_leftovers_of_the_living_stay(tmp_path):
    folder = build(tmp_path)
    space = temporary._process_space()
    gone = 2**22 + 1  # above the largest process number
    kept = [f"a.tmp-{space}-{os.getpid()}-00", f"a.tmp-elsewhere-{gone}-00", "a.tmp-any-1-00", "a.tmp-1-0"]
    removed = ["b.tmp-elsewhere-1-00", "b.tmp-any-1-00", "c.tmp-1-00", "shard-00000.lock"]
    if space != "any":
        removed.append(f"b.tmp-{space}-{gone}-00")
    for name in kept + removed:
        (folder / name).write_text("")
        if name[0] in "bc" and name.find(space) < 0:
            os.utime(folder / name, (0, 0))
    assert writer(tmp_path).finish()
    left = {path.name for path in folder.iterdir()}
    assert left >= set(kept) and not left & set(removed)


def test_two_plans_begun_at_once(tmp_path):
    """The second one finds that it was not the first only when it begins to write."""
    one, other = writer(tmp_path), CacheWriter(tmp_path, identity(), LENGTHS, SHARD_BYTES * 2)
    one.write(0, of_items(states(), one.shards[0]))
    with pytest.raises(CacheError, match="begun with other shards"):
        other.write(0, of_items(states(), other.shards[0]))
    build(tmp_path)
    check(tmp_path)
