"""What decides the content of a cache of hidden states."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from legorec.files.digest import digest_bytes
from legorec.files.manifest import canonical

FORMAT = 1
StoredType = Literal["bf16", "fp16", "fp32"]


class CacheError(ValueError):
    """A cache that is missing, unfinished, altered, or of another content; the message says which."""


@dataclass(frozen=True)
class CacheIdentity:
    """Everything that decides the content of a cache; caches are the same where these are equal.

    Args:
        checkpoint: digest of the language model's config and weight files.
        tokenizer: digest of its tokenizer.
        template: the text template with the token budgets of its segments.
        catalog: digest of the items' tokens, see ``catalog_digest``.
        depth: layers already applied.
        width: of one hidden state.
        dtype: how the states are stored.
        compute: dtype and attention implementation in which the layers ran, such as ``fp32/sdpa``; of means
            over an item's tokens also at which depths, up to ``depth``: ``fp32/sdpa, mean at 0-2-4``.
        format: version of the files.
    """

    checkpoint: str
    tokenizer: str
    template: str
    catalog: str
    depth: int
    width: int
    dtype: StoredType
    compute: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"`depth` must be at least 0, got {self.depth}")
        if self.width < 1:
            raise ValueError(f"`width` must be at least 1, got {self.width}")
        if self.dtype not in get_args(StoredType):
            raise ValueError(f"`dtype` must be bf16, fp16 or fp32, got '{self.dtype}'")

    @cached_property
    def digest(self) -> str:
        """One digest of all fields, 32 hexadecimal digits."""
        return digest_bytes(canonical(asdict(self)))

    @property
    def folder_name(self) -> str:
        """The folder below the root: ``depth-31-bf16-0a1b2c3d``."""
        return f"depth-{self.depth}-{self.dtype}-{self.digest[:8]}"

    def differences(self, other: CacheIdentity) -> list[tuple[str, Any, Any]]:
        """(field, own value, the other's) for each field that differs, in the order of the fields."""
        pairs = ((part.name, getattr(self, part.name), getattr(other, part.name)) for part in fields(self))
        return [(name, mine, theirs) for name, mine, theirs in pairs if mine != theirs]


def catalog_digest(values: np.ndarray, lengths: np.ndarray, item_ids_digest: str) -> str:
    """Digest of what is encoded: the tokens of every item, and which items they are.

    Args:
        values: token ids of all items, packed; their integer type makes no difference.
        lengths: (N,) or (N, F), tokens of each item (and field).
        item_ids_digest: digest of the raw ids in the order of the rows, for a cache is gathered by row.
    """
    state = hashlib.blake2b(digest_size=16)
    state.update(canonical([list(values.shape), list(lengths.shape), item_ids_digest]))
    for array in (values.reshape(-1), lengths.reshape(-1)):
        for start in range(0, len(array), 1 << 20):
            state.update(np.ascontiguousarray(array[start : start + (1 << 20)], dtype="<i8").data)
    return state.hexdigest()
