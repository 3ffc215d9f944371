"""What is common to writing and reading the cached states of a catalogue: which cache it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from legorec.data.digest import digest_bytes
from legorec.lm.attention import AUTO
from legorec.lm.cut import Attention, Precision
from legorec.lm.pretrained import Pretrained
from legorec.lm.state_cache import CacheIdentity, catalog_digest

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog


def check_text(catalog: Catalog, pretrained: Pretrained) -> None:
    """Refuse items that are not text for this language model.

    Raises:
        ValueError: they are read as fields, or one is longer than the model's positions reach.
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
) -> CacheIdentity:
    """Everything that decides what a cache of these items at this depth holds."""
    assert catalog.text is not None
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
        compute=f"{computed}/{'sdpa' if attention == AUTO else attention}",
    )
