"""What a cache run takes, and how it reads the layers in the memory that is given."""

from __future__ import annotations

from typing import Any

import pytest

from legorec.lm.cache_plan import CachePlan
from legorec.lm.cut import LowerLayers
from legorec.lm.stream_plan import (
    CacheMemory,
    Streaming,
    cache_memory,
    check_memory,
    choose_streaming,
    gigabytes_up,
)
from tests.support.language_runs import text_catalog

GB = 2**30
# Embeddings of 1 GB, three layers of 2, a batch of 1, states of a shard of 1, half of that while written.
SIZES = CacheMemory(GB, (2 * GB, 2 * GB, 2 * GB), 0, GB, GB, GB // 2, 2)


def test_what_is_needed_in_one_piece_and_layer_by_layer():
    assert SIZES.whole == (1 + 6 + 1 + 2 * 0.5) * GB
    assert SIZES.streamed(ahead=False) == (2 + 1 + 1 + 0.5) * GB
    assert SIZES.streamed(ahead=True, shards=3) == (4 + 1 + 3 + 0.5) * GB


@pytest.mark.parametrize(
    "given, wanted",
    [
        (9.0, None),
        (8.9, Streaming(True, 3)),
        (6.5, Streaming(True, 1)),
        (6.4, Streaming(False, 2)),
        (4.5, Streaming(False, 1)),
    ],
)
def test_the_layer_ahead_comes_first_then_the_items(given, wanted):
    assert choose_streaming(SIZES, int(given * GB)) == wanted


def test_a_layer_read_ahead_on_the_host_takes_nothing_of_a_device():
    assert choose_streaming(SIZES, 6 * GB, ahead_is_free=True) == Streaming(True, 2)


def test_too_little_is_refused_with_the_number_that_does():
    check_memory(SIZES, 4.5, "cache it")
    with pytest.raises(ValueError, match=r"`memory_gb` must be at least 4\.5 to cache it .* got 4\.49;"):
        check_memory(SIZES, 4.49, "cache it")
    for size in (1, 999, 123_456_789, 5 * GB + 1):
        assert size <= float(gigabytes_up(size)) * GB <= 1.2 * size


def planned(pretrained: Any, mean: bool = False, **more: Any) -> CacheMemory:
    given = {"stored": "bf16", "computed": "fp32", "attention": "auto"} | more
    plan = CachePlan(text_catalog(), pretrained, "unused", [1, 3], mean, **given)
    return cache_memory(plan, plan.writers(1 << 20), 64, on_host=True)


@pytest.mark.parametrize("model_type", ["llama", "bert", "gpt2"])
def test_the_weights_are_those_of_the_lower_layers(checkpoint, model_type):
    pretrained = checkpoint(model_type, num_hidden_layers=4)
    lower = LowerLayers(pretrained, [3])
    found = planned(pretrained)
    assert found.weights == sum(each.nbytes for each in lower.parameters()) and len(found.layers) == 3
    assert planned(pretrained, computed="bf16").weights == found.weights // 2


def test_states_are_those_of_the_largest_shard(checkpoint):
    pretrained, lengths = checkpoint("llama"), text_catalog().lengths.sum(1)
    found = planned(pretrained)
    tokens, items = int(lengths.sum()), int((lengths > 0).sum())
    assert (found.states, found.written) == (tokens * 32 * 4, tokens * 32 * 2)
    means = planned(pretrained, mean=True)
    assert means.states == found.states and means.depths == 1
    assert 2 * items * 32 * 2 <= means.written <= 2 * len(lengths) * 32 * 2
