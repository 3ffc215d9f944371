"""Hidden states of frozen lower layers, computed once for every item and kept ragged on the disk."""

from legorec.lm.state_cache.ahead import Prefetcher
from legorec.lm.state_cache.identity import FORMAT, CacheError, CacheIdentity, StoredType, catalog_digest
from legorec.lm.state_cache.reading import HiddenStateCache, ResidentStates
from legorec.lm.state_cache.serving import ServedStates
from legorec.lm.state_cache.shards import plan_shards
from legorec.lm.state_cache.writing import CacheWriter, free_space_check

__all__ = [
    "FORMAT",
    "CacheError",
    "CacheIdentity",
    "CacheWriter",
    "HiddenStateCache",
    "Prefetcher",
    "ResidentStates",
    "ServedStates",
    "StoredType",
    "catalog_digest",
    "free_space_check",
    "plan_shards",
]
