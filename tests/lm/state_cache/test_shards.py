"""How items are split over files."""

import pytest

from legorec.lm.state_cache import plan_shards
from tests.support.state_caches import (
    LENGTHS,
    TYPES,
)


@pytest.mark.parametrize("shard_bytes", [1, 8, 9, 50, 100, 1000, 1 << 28])
@pytest.mark.parametrize("dtype", TYPES)
def test_shards_cover_all_items_once(shard_bytes, dtype):
    shards = plan_shards(LENGTHS, 4, dtype, shard_bytes)
    assert [row for items in shards for row in items] == list(range(len(LENGTHS)))
    assert shards == plan_shards(LENGTHS.copy(), 4, dtype, shard_bytes)
    sizes = [LENGTHS[i.start : i.stop].sum() * 4 * TYPES[dtype].itemsize + 8 * len(i) for i in shards]
    assert all(size <= shard_bytes or len(items) == 1 for size, items in zip(sizes, shards, strict=True))
    for size, items in zip(sizes, shards[1:], strict=False):  # as large as they may be
        following = LENGTHS[items.start] * 4 * TYPES[dtype].itemsize + 8
        assert size + following > shard_bytes


def test_no_items_and_no_tokens():
    assert plan_shards(LENGTHS[:0], 4, "bf16") == []
    assert plan_shards(LENGTHS * 0, 4, "bf16") == [range(17)]


def test_a_shard_of_nothing():
    with pytest.raises(ValueError, match="`shard_bytes` must be at least 1, got 0"):
        plan_shards(LENGTHS, 4, "bf16", 0)
