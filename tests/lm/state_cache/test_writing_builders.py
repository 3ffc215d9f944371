"""Several builders at once (R8), and builders that are killed anywhere (R9)."""

import multiprocessing
import os
import sys
import time

import pytest
import torch

from legorec.lm.state_cache import CacheError, CacheWriter, HiddenStateCache, writing
from legorec.lm.state_cache.shards import Shard
from tests.support.state_caches import (
    LENGTHS,
    build,
    build_in_process,
    check,
    identity,
    of_items,
    states,
    writer,
)


def start(root, numbers, locked=True, seconds=0.01):
    """Builders in processes of their own, which share one import of torch where the system allows."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload(["tests.support.state_caches"])
    results = context.SimpleQueue()
    builders = [
        context.Process(target=build_in_process, args=(str(root), number, locked, seconds, results))
        for number in numbers
    ]
    for builder in builders:
        builder.start()
    return builders, results


@pytest.mark.parametrize("locked", [True, False])
def test_r8_eight_builders_at_once(tmp_path, locked):
    builders, results = start(tmp_path, range(1, 9), locked)
    for builder in builders:  # what they say fits into the pipe: they do not wait for a reader
        builder.join(100)
    assert [builder.exitcode for builder in builders] == [0] * 8
    computed = dict(results.get() for _ in builders)
    cache, shards = check(tmp_path), writer(tmp_path).shards
    times = {index: sum(index in each for each in computed.values()) for index in range(len(shards))}
    assert all(count == 1 for count in times.values()) if locked else min(times.values()) >= 1
    for index, items in enumerate(shards):
        numbers = set(cache.gather(torch.tensor(list(items))).flatten().tolist())
        assert len(numbers) == (LENGTHS[items.start : items.stop].sum() > 0), "a shard of two builders"
        assert all(index in computed[int(number)] for number in numbers)


@pytest.mark.parametrize("found", ["nothing", "another's"])
def test_r8_a_shard_taken_away_before_it_is_signed_is_written_again(tmp_path, monkeypatch, found):
    """Without locks, a builder that waited in vain for the signature removes the file."""
    place, taken = writing.place_first, []

    def place_and_take(temporary, path):
        placed = place(temporary, path)
        if not taken:
            taken.append(path)
            path.unlink()
            if found == "another's":
                path.write_bytes(temporary.read_bytes())
        return placed

    monkeypatch.setattr(writing, "place_first", place_and_take)
    cache = writer(tmp_path)
    for index in cache.missing():
        cache.write(index, of_items(states(), cache.shards[index]))
    assert cache.missing() == [0], "what this builder did not write is not signed by it"
    assert not cache.finish()
    build(tmp_path)
    assert torch.equal(check(tmp_path).gather(torch.arange(17)), states().bfloat16())


def test_r9_a_killed_builder_is_continued(tmp_path, monkeypatch):
    [builder], _ = start(tmp_path, [7], seconds=0.1)
    folder, total = tmp_path / identity().folder_name, len(writer(tmp_path).shards)
    while len(list(folder.glob("*.safetensors"))) < total // 2:
        assert builder.is_alive()
        time.sleep(0.005)
    builder.kill()
    builder.join()
    with pytest.raises(CacheError, match=rf"unfinished \({total // 2}|{total // 2 + 1} of {total} shards\)"):
        HiddenStateCache.open(tmp_path, identity())

    written, save = [], Shard.save
    monkeypatch.setattr(Shard, "save", lambda self, *rest: (written.append(self.items), save(self, *rest))[1])
    missing = writer(tmp_path).missing()
    assert 0 < len(missing) <= total - total // 2
    build(tmp_path)
    assert written == [writer(tmp_path).shards[index] for index in missing], "only what was missing"
    cache = check(tmp_path)
    for index, items in enumerate(writer(tmp_path).shards):
        expected = of_items(states().bfloat16(), items)
        expected = expected if index in missing else torch.full_like(expected, 7)
        assert torch.equal(cache.gather(torch.tensor(list(items))), expected)


@pytest.mark.slow
def test_r9_builders_killed_at_any_time(tmp_path):
    unfinished = 0
    for attempt in range(20):
        root = tmp_path / str(attempt)
        [builder], _ = start(root, [7], seconds=0.003)
        while not root.exists():
            assert builder.is_alive()
        time.sleep(0.004 * attempt)
        builder.kill()
        builder.join()
        unfinished += len(writer(root).missing()) > 0
        build(root, values=torch.full_like(states(), 7))
        assert (check(root).gather(torch.arange(17)) == 7).all()
    assert unfinished > 2, "the test does not kill where it should"


class Fault(BaseException):
    """Not an Exception, as little as a signal is."""


class Faulty:
    """Counts calls and raises instead of the one at some place, or right after it."""

    def __init__(self, at, after):
        self.at, self.after, self.count = at, after, 0

    def wrap(self, function):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at and not self.after:
                raise Fault
            try:
                return function(*args, **kwargs)
            finally:
                if self.count == self.at:
                    raise Fault

        return call

    def install(self, patch):
        for name in ("link", "replace", "fsync", "unlink"):
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        # How often it writes depends on the clock, and it is no part of the cache.
        patch.setattr("legorec.lm.state_cache.writing.remember", lambda digests: None)


def build_with_locks(root):
    cache: CacheWriter = writer(root)
    for index in cache.missing():
        with cache.claim(index) as mine:
            assert mine
            cache.write(index, of_items(states(), cache.shards[index]))
    assert cache.finish()


def calls(root):
    counter = Faulty(0, False)
    with pytest.MonkeyPatch.context() as patch:
        counter.install(patch)
        build_with_locks(root)
    return counter.count


def interrupted(root, at, after):
    """Build a cache with a fault, then again; it must come to its end, and leave nothing."""
    with pytest.MonkeyPatch.context() as patch:
        Faulty(at, after).install(patch)
        with pytest.raises(Fault):
            build_with_locks(root)
    try:
        whole = HiddenStateCache.open(root, identity(), verify="full")
    except CacheError as problem:
        assert "unfinished" in str(problem) or "no cache of hidden states" in str(problem)
    else:
        assert torch.equal(whole.gather(torch.arange(17)), states().bfloat16())
    build_with_locks(root)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_fault_at_any_call_leaves_what_can_be_continued(tmp_path, after):
    total = calls(tmp_path / "whole")
    assert total > 30
    for at in range(1, total + 1):
        root = tmp_path / f"at-{at}"
        interrupted(root, at, after)
        folder = root / identity().folder_name
        # A file whose removal was cut short is of this process, which lives: it is not taken for a leftover.
        for path in folder.glob("*.tmp-*"):
            assert path.name.split("-")[-2] == str(os.getpid())
            path.unlink()
        assert torch.equal(check(root).gather(torch.arange(17)), states().bfloat16())
