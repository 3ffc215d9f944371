"""What may be written, how it is split, and what is on the disk when writing fails (R3, R5)."""

import errno
import os
import shutil
import stat
from collections import namedtuple

import numpy as np
import pytest
import torch

from legorec.lm.state_cache import CacheWriter, HiddenStateCache, free_space_check
from tests.support.state_caches import (
    LENGTHS,
    TYPES,
    build,
    check,
    identity,
    of_items,
    states,
    writer,
)


def test_a_catalogue_without_tokens_or_items(tmp_path):
    for name, lengths in (("empty", LENGTHS * 0), ("none", LENGTHS[:0])):
        cache = CacheWriter(tmp_path / name, identity(), lengths)
        for index in cache.missing():
            cache.write(index, torch.empty(0, 4))
        assert cache.finish()
        opened = HiddenStateCache.open(tmp_path / name, identity())
        assert opened.gather(torch.arange(len(lengths))).shape == (0, 4)
        assert opened.resident("cpu").gather(torch.arange(len(lengths))).shape == (0, 4)


def test_nothing_is_written_by_asking(tmp_path):
    cache = writer(tmp_path / "root")
    assert cache.missing() == list(range(len(cache.shards)))
    assert cache.bytes_needed() > LENGTHS.sum() * 4 * 2
    assert not cache.finish() and not (tmp_path / "root").exists()


def test_bytes_needed_are_the_bytes_of_the_files(tmp_path):
    cache = writer(tmp_path)
    total = cache.bytes_needed()
    cache.write(1, of_items(states(), cache.shards[1]))
    rest = cache.bytes_needed()
    build(tmp_path)
    sizes = [path.stat().st_size for path in sorted(cache.folder.glob("*.safetensors"))]
    assert sum(sizes) == total and sum(sizes) - sizes[1] == rest and cache.bytes_needed() == 0


def test_free_space(tmp_path, monkeypatch):
    free_space_check(tmp_path / "not" / "yet", 1000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1_500_000_000))
    free_space_check(tmp_path, 1_500_000_000)
    message = f"the cache needs 12.00 GB, 1.50 GB are free in {tmp_path}/caches; name another folder"
    with pytest.raises(OSError, match=message):
        free_space_check(tmp_path / "caches", 12_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1234))
    with pytest.raises(OSError, match="the cache needs 5,678 bytes, 1,234 bytes are free"):
        free_space_check(tmp_path, 5678)


def test_free_files(tmp_path, monkeypatch):
    facts = namedtuple("facts", "f_files f_favail f_bavail f_bfree f_blocks f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda path: facts(100, 9, 1, 1, 1, 1 << 20), raising=False)
    free_space_check(tmp_path / "caches", 0, 9)
    with pytest.raises(
        OSError, match=r"needs 10 files, the disk of .* has room for 9 more, .* \(--shard_mb\)"
    ):
        free_space_check(tmp_path, 0, 10)
    monkeypatch.setattr(
        os, "statvfs", lambda path: facts(0, 0, 1, 1, 1, 1 << 20), raising=False
    )  # it does not say
    free_space_check(tmp_path, 0, 10)


def test_a_cache_takes_no_more_files_than_said(tmp_path, monkeypatch):
    cache, most, replace = writer(tmp_path), 0, os.replace
    needed = cache.files_needed()

    def counted(*given):
        nonlocal most
        most = max(most, sum(1 for _ in tmp_path.rglob("*")))
        replace(*given)

    monkeypatch.setattr(os, "replace", counted)
    build(tmp_path)
    assert 0 < most <= needed and writer(tmp_path).files_needed() == 0


def test_finishing_again_changes_nothing(tmp_path):
    path = build(tmp_path) / "manifest.json"
    before = path.stat()
    assert writer(tmp_path).missing() == [] and writer(tmp_path).finish()
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    check(tmp_path)


def test_any_float_dtype_is_taken(tmp_path):
    for number, dtype in enumerate((torch.float64, torch.float32, torch.float16, torch.bfloat16)):
        build(tmp_path / str(number), values=states().to(dtype).t().contiguous().t())
        found = check(tmp_path / str(number)).gather(torch.arange(17))
        assert torch.equal(found, states().to(dtype).bfloat16())


def test_files_can_be_read_by_whom_the_folder_lets(tmp_path):
    tmp_path.chmod(0o755)
    previous = os.umask(0o022)
    try:
        folder = build(tmp_path)
    finally:
        os.umask(previous)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("lengths", [LENGTHS[None], LENGTHS.astype(np.int32), -LENGTHS])
def test_wrong_lengths(tmp_path, lengths):
    with pytest.raises(ValueError, match=r"`lengths` must be \(N,\) int64 and not negative, got"):
        CacheWriter(tmp_path, identity(), lengths)


def test_another_format_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="`format` must be 1, which this program writes, got 2"):
        writer(tmp_path, format=2)


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(3, 4), torch.zeros(4, 5), torch.zeros(4, 4, dtype=torch.int32),
        torch.zeros(4, 4, device="meta"),
    ],
)  # fmt: skip
def test_values_of_another_shape(tmp_path, values):
    cache = CacheWriter(tmp_path, identity(), np.array([4]))
    with pytest.raises(
        ValueError, match=r"the states of items 0 to 0 must be \(4, 4\) floats on the host, go"
    ):
        cache.write(0, values)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", TYPES)
def test_r5_states_that_are_not_finite_are_refused(tmp_path, value, dtype):
    cache, values = writer(tmp_path, dtype=dtype), states()
    values[9, 2] = value  # the tokens of item 7 are 10 to 18, item 6 has 8 and 9
    index = next(index for index, items in enumerate(cache.shards) if 6 in items)
    message = r"item row 6 at depth 3 are not finite; nothing of this shard was written.*'fp32/sdpa'"
    with pytest.raises(ValueError, match=message):
        cache.write(index, of_items(values, cache.shards[index]))
    assert index in cache.missing() and not list(tmp_path.iterdir())


def test_r5_states_that_do_not_fit_are_refused(tmp_path):
    cache, values = writer(tmp_path, dtype="fp16"), states()
    values[10, 0] = -70000.0
    index = next(index for index, items in enumerate(cache.shards) if 7 in items)
    message = r"item row 7 at depth 3 reach 70000, more than fp16 can hold \(65504\); .* `dtype: bf16`"
    with pytest.raises(ValueError, match=message):
        cache.write(index, of_items(values, cache.shards[index]))
    cache, values[10, 0] = writer(tmp_path, dtype="bf16"), 3.4e38
    with pytest.raises(ValueError, match="more than bf16 can hold .* `dtype: fp32`"):
        cache.write(index, of_items(values, cache.shards[index]))
    assert not list(tmp_path.iterdir())
    build(tmp_path, values=values, dtype="fp32")


def full_disk(*arguments, **words):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_r3_a_full_disk(tmp_path, monkeypatch, call):
    cache = writer(tmp_path)
    cache.write(0, of_items(states(), cache.shards[0]))
    size = cache._files[1].num_bytes
    before = {path.name for path in cache.folder.iterdir()}
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", full_disk)
        else:

            class Full:
                def __init__(self, path, mode):
                    path.write_bytes(b"the beginning")

                def __enter__(self):
                    return self

                def __exit__(self, *arguments):
                    pass

                write = full_disk

            opened = open
            patch.setattr(
                "builtins.open",
                lambda path, mode="r", *rest, **words: (
                    Full(path, mode) if mode == "xb" else opened(path, mode, *rest, **words)
                ),
            )
        with pytest.raises(
            OSError, match=f"shard-00001.* it needs {size:,} bytes, .*No space left on device"
        ):
            cache.write(1, of_items(states(), cache.shards[1]))
    assert {path.name for path in cache.folder.iterdir()} == before
    build(tmp_path)
    assert torch.equal(check(tmp_path).gather(torch.arange(17)), states().bfloat16())
