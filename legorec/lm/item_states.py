"""The identity of a catalogue's cached states, shared by writing and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from legorec.files.digest import digest_bytes
from legorec.lm.attention import AUTO
from legorec.lm.cut import Attention, Precision
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheIdentity, catalog_digest

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog

MEANS = "means"  # folder of the caches of means, separate from those of all states


def check_text(catalog: Catalog, pretrained: Pretrained) -> None:
    """Refuse items that are not text for this language model.

    Raises:
        ValueError: they are read as fields, or one is longer than the model's positions allow.
    """
    if catalog.text is None:
        raise ValueError(
            f"{pretrained.name} reads the items as one text, and the data layer gives `fields`; name a data "
            "layer with a `text` template, such as config/data/mind-bert.yaml"
        )
    longest, reach = catalog.fields[0].max_length, pretrained.max_length
    if longest > reach:
        raise ValueError(
            f"the longest item has {longest} tokens, {pretrained.name} takes at most {reach}; give the "
            "fields of `data.text.template` budgets, as in {title:20}"
        )


def cache_identity(
    catalog: Catalog,
    pretrained: Pretrained,
    depth: int,
    *,
    stored: Precision,
    computed: Precision,
    attention: Attention,
    mean_at: Sequence[int] = (),
) -> CacheIdentity:
    """Everything that determines the content of a cache of these items at this depth.

    Args:
        mean_at: depths, up to ``depth``; an item has one row for each, the mean over its tokens. Empty: an
            item has its tokens' states at ``depth``.
    """
    assert catalog.text is not None
    taken = f", mean at {'-'.join(map(str, mean_at))}" if mean_at else ""
    return CacheIdentity(
        checkpoint=pretrained.digest(),
        tokenizer=digest_bytes(catalog.text.tokenizer.to_str().encode()),
        template=catalog.text.template,
        catalog=catalog_digest(
            catalog.values.cpu().numpy(), catalog.lengths.numpy(), catalog.item_ids_digest
        ),
        depth=depth,
        width=pretrained.width,
        dtype=stored,
        compute=f"{computed}/{'sdpa' if attention == AUTO else attention}{taken}",
    )


def mean_depths(pretrained: Pretrained, step: int) -> list[int]:
    """Every ``step``-th depth counted down from the last, shallow ones first; with 0, the embeddings, if the
    steps end there.

    Raises:
        ValueError: ``step`` is below 1, or more than the model's layers, which would leave only one depth.
    """
    if not 1 <= step <= pretrained.num_layers:
        raise ValueError(
            f"`step` must be between 1 and {pretrained.num_layers}, the layers of {pretrained.name}, "
            f"got {step}"
        )
    return list(range(pretrained.num_layers, -1, -step))[::-1]


def mean_rows(lengths_N: Tensor, depths: Sequence[int]) -> Tensor:
    """(N,) rows of each item in a cache of means: one per depth, none if it has no token."""
    return (lengths_N > 0) * len(depths)


def means_folder(cache: str) -> Path:
    """The folder of the caches of means, below ``cache``."""
    return Path(cache) / MEANS
