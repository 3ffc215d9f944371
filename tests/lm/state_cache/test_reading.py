"""What is gathered is what was written, whatever is asked for and however it is stored."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from legorec.lm.state_cache import CacheWriter, HiddenStateCache, reading
from tests.support.state_caches import LENGTHS, TYPES, WIDTH, build, identity, rows_of, states


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Caches of each dtype that no test may change."""
    path = tmp_path_factory.mktemp("caches")
    for dtype in TYPES:
        build(path, dtype=dtype)
    return path


ORDERS = {
    "none": [],
    "one": [7],
    "one empty": [4],
    "all": list(range(17)),
    "a range within a shard": [1, 2],
    "a range over shards": list(range(2, 13)),
    "ascending": [0, 2, 3, 7, 10, 14, 16],
    "ascending with repeats": [1, 1, 3, 3, 3, 14, 14],
    "descending": list(range(16, -1, -1)),
    "any order with repeats": [14, 0, 7, 7, 1, 16, 3, 14, 4, 8, 2],
    "shards in turn": [1, 14, 2, 13, 1],
    "only empty ones": [5, 0, 16, 4],
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_gathered_is_what_was_written(root, dtype, order):
    cache = HiddenStateCache.open(root, identity(dtype=dtype))
    expected = rows_of(states().to(TYPES[dtype]), ORDERS[order])
    items = torch.tensor(ORDERS[order], dtype=torch.int64)
    found = cache.gather(items)
    assert found.dtype == TYPES[dtype] and found.shape == (len(expected), WIDTH)
    assert torch.equal(found, expected) and cache.num_tokens_of(items) == len(expected)
    assert torch.equal(cache.resident("cpu").gather(items), expected)


@given(st.lists(st.integers(0, 16), max_size=40))
@settings(max_examples=100)
def test_gathered_in_any_order(root, order):
    cache = HiddenStateCache.open(root, identity(dtype="fp32"), verify="size")
    items = torch.tensor(order, dtype=torch.int64)
    assert torch.equal(cache.gather(items), rows_of(states(), order))
    assert torch.equal(cache.resident("cpu").gather(items), rows_of(states(), order))


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 400), st.data())
@settings(max_examples=25)
def test_however_it_is_split(tmp_path_factory, lengths, shard_bytes, data):
    root, counts = tmp_path_factory.mktemp("split"), np.array(lengths, dtype=np.int64)
    values = states(lengths=counts)
    writer = CacheWriter(root, identity(dtype="fp32"), counts, shard_bytes)
    offsets = np.append(0, counts.cumsum())
    for index, items in enumerate(writer.shards):
        writer.write(index, values[offsets[items.start] : offsets[items.stop]])
    assert writer.finish()
    cache = HiddenStateCache.open(root, identity(dtype="fp32"))
    assert cache.num_items == len(lengths) and cache.num_tokens == counts.sum()
    if lengths:
        order = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=20))
        found = cache.gather(torch.tensor(order, dtype=torch.int64))
        assert torch.equal(found, rows_of(values, order, counts))


def test_what_a_cache_says_of_itself(root):
    cache = HiddenStateCache.open(root, identity())
    assert (cache.num_items, cache.num_tokens, cache.width, cache.depth) == (17, 38, WIDTH, 3)
    assert cache.dtype == torch.bfloat16 and cache.nbytes == 38 * WIDTH * 2
    assert cache.lengths.dtype == torch.int64 and cache.lengths.tolist() == LENGTHS.tolist()
    assert len(list((root / identity().folder_name).glob("*.safetensors"))) > 3


def test_the_files_are_plain_safetensors(root):
    paths = sorted((root / identity().folder_name).glob("*.safetensors"))
    parts = [load_file(path) for path in paths]
    assert all(set(part) == {"values", "offsets"} for part in parts)
    assert torch.equal(torch.cat([part["values"] for part in parts]), states().bfloat16())
    assert torch.cat([part["offsets"].diff() for part in parts]).tolist() == LENGTHS.tolist()


def test_values_begin_at_a_multiple_of_64_bytes(root):
    for dtype in TYPES:
        cache = HiddenStateCache.open(root, identity(dtype=dtype))
        assert all(values.data_ptr() % 64 == 0 for values in cache._shards if len(values))


def test_into_a_buffer(root):
    cache = HiddenStateCache.open(root, identity(dtype="fp32"))
    for order in ([1, 2, 3], [1, 7, 14], [14, 1, 7]):
        out = torch.full((30, WIDTH), -1.0)
        found, expected = cache.gather(torch.tensor(order), out=out), rows_of(states(), order)
        assert torch.equal(found, expected) and found.data_ptr() == out.data_ptr()
        assert (out[len(expected) :] == -1).all()


@pytest.mark.parametrize(
    "out",
    [
        torch.empty(2, WIDTH), torch.empty(30, WIDTH + 1), torch.empty(30, WIDTH, dtype=torch.float16),
        torch.empty(30), torch.empty(WIDTH, 30).t(), torch.empty(30, WIDTH, device="meta"),
    ],
)  # fmt: skip
def test_a_buffer_that_does_not_fit(root, out):
    cache = HiddenStateCache.open(root, identity(dtype="fp32"))
    with pytest.raises(ValueError, match=r"`out` must be at least \(3, 4\) torch.float32, on the host and"):
        cache.gather(torch.tensor([1]), out=out)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (torch.tensor([3, 17]), "`items` must be rows of the cached catalogue, 0 to 16, got 17"),
        (torch.tensor([3, -1]), "`items` must be rows of the cached catalogue, 0 to 16, got -1"),
        (torch.tensor([[3]]), r"`items` must be \(n,\) int64 on the host, got \(1, 1\) torch.int64"),
        (torch.tensor([3], dtype=torch.int32), r"`items` must be \(n,\) int64 .* torch.int32"),
        (torch.tensor([3], device="meta"), r"`items` must be \(n,\) int64 on the host, got .* on meta"),
    ],
)
def test_items_that_are_no_rows(root, items, message):
    cache = HiddenStateCache.open(root, identity())
    for gather in (cache.gather, cache.num_tokens_of, cache.resident("cpu").gather):
        with pytest.raises(ValueError, match=message):
            gather(items)


def test_what_is_gathered_is_a_copy(root):
    cache = HiddenStateCache.open(root, identity(dtype="fp32"))
    for order in ([1, 2, 3], [1, 7, 14], [14, 1, 7]):
        items = torch.tensor(order)
        cache.gather(items).zero_()
        assert torch.equal(cache.gather(items), rows_of(states(), order))


def test_opening_again_reads_no_values(root, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    HiddenStateCache.open(root, identity())
    monkeypatch.setattr("legorec.files.digest.digest_file", lambda path: pytest.fail(f"{path} was read"))
    HiddenStateCache.open(root, identity())
    HiddenStateCache.open(root, identity(), verify="size")
    with pytest.raises(pytest.fail.Exception, match="was read"):
        HiddenStateCache.open(root, identity(), verify="full")


def test_a_wrong_word_for_verify(root):
    with pytest.raises(ValueError, match="`verify` must be size, digest or full, got 'no'"):
        HiddenStateCache.open(root, identity(), verify="no")


def resident_bytes() -> dict[str, int]:
    with open("/proc/self/status") as file:
        return {line.split()[0]: int(line.split()[1]) << 10 for line in file if line.startswith("Rss")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_reading_takes_file_backed_memory_alone(tmp_path):
    lengths = np.full(4096, 8, dtype=np.int64)
    items = torch.from_numpy(np.random.default_rng(0).permutation(4096))
    wanted = identity(width=1024)  # 64 MB
    writer = CacheWriter(tmp_path, wanted, lengths, shard_bytes=16 << 20)
    for index, rows in enumerate(writer.shards):
        writer.write(index, torch.ones(8 * len(rows), 1024, dtype=torch.bfloat16))
    assert writer.finish()
    cache = HiddenStateCache.open(tmp_path, wanted, verify="size")
    out = torch.zeros(64 * 8, 1024, dtype=torch.bfloat16)
    before = resident_bytes()
    cache.gather(items[:64], out=out)  # what the first call alone takes is not of the cache
    anonymous = resident_bytes()["RssAnon:"]
    for chosen in items.split(64):
        assert (cache.gather(chosen, out=out) == 1).all()
    after = resident_bytes()
    assert after["RssAnon:"] - anonymous < 8 << 20
    assert after["RssFile:"] - before["RssFile:"] > 32 << 20, "the test does not measure what it should"


def test_runs():
    assert list(reading._runs(np.array([2, 2, 5, 2]))) == [
        (2, slice(0, 2)),
        (5, slice(2, 3)),
        (2, slice(3, 4)),
    ]
