"""Everything that decides the content of a cache is in its identity, and nothing else."""

from dataclasses import fields

import numpy as np
import pytest

from legorec.lm.state_cache import CacheIdentity, catalog_digest
from tests.support.state_caches import identity

CHANGES = {
    "checkpoint": "x" * 32, "tokenizer": "x" * 32, "template": "title: {title:31} body: {body:100}",
    "catalog": "x" * 32, "depth": 4, "width": 5, "dtype": "fp16", "compute": "bf16/sdpa", "format": 2,
}  # fmt: skip


def test_every_field_has_a_change():
    assert set(CHANGES) == {part.name for part in fields(CacheIdentity)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_is_in_the_digest(name):
    one, other = identity(), identity(**{name: CHANGES[name]})
    assert one.digest != other.digest and one.folder_name != other.folder_name
    assert one.differences(other) == [(name, getattr(one, name), CHANGES[name])]


def test_equal_identities():
    one, other = identity(), identity()
    assert one == other and one.digest == other.digest and one.differences(other) == []
    assert len(one.digest) == 32 and one.folder_name == f"depth-3-bf16-{one.digest[:8]}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": -1}, "`depth` must be at least 0, got -1"),
        ({"width": 0}, "`width` must be at least 1, got 0"),
        ({"dtype": "int8"}, "`dtype` must be bf16, fp16 or fp32, got 'int8'"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        identity(**change)


def test_the_digest_of_a_catalog():
    values, lengths = np.arange(6, dtype=np.int32), np.array([[1, 2], [3, 0]])
    digest = catalog_digest(values, lengths, "ids")
    assert digest == catalog_digest(values.astype(np.int64), lengths.astype(np.int32), "ids")
    others = [
        catalog_digest(values[::-1], lengths, "ids"),
        catalog_digest(values, lengths[::-1], "ids"),
        catalog_digest(values, lengths.reshape(-1), "ids"),
        catalog_digest(values, lengths, "other ids"),
        catalog_digest(np.append(values, 1), lengths, "ids"),
        # The same numbers in a row, divided otherwise.
        catalog_digest(values[:5], np.array([5, 1, 2, 3, 0]), "ids"),
    ]
    assert len({digest, *others}) == 1 + len(others)


def test_the_digest_of_a_large_catalog_is_that_of_all_of_it():
    values, lengths = np.zeros(3 << 20, dtype=np.int32), np.array([3 << 20])
    before = catalog_digest(values, lengths, "")
    for place in (0, 1 << 20, len(values) - 1):
        values[place] = 1
        assert catalog_digest(values, lengths, "") != before
        values[place] = 0
