"""The texts of a store's items as a language model reads them, with all that says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from legorec.data.item_text import ItemText, stored_field
from legorec.data.ragged import Ragged
from legorec.data.store import Field
from legorec.lm.item_encoding import ItemEncoding
from legorec.lm.pretrained import Pretrained, find_pretrained
from legorec.recipes.inputs.digests import data_digests
from legorec.recipes.inputs.store_data import Data, opened

if TYPE_CHECKING:
    from legorec.settings import Settings


class ItemTexts(NamedTuple):
    """Token ids of every item of a store, special tokens among them."""

    data: Data
    pretrained: Pretrained
    encoding: ItemEncoding
    rows: Ragged
    readable: np.ndarray  # rows of the items that have a token of their own

    @property
    def fields(self) -> Sequence[Field]:
        """The fields of the store that the template reads."""
        text = self.text
        return [stored_field(self.data.store, name, text.tokenizer_name) for name in text.field_names]

    @property
    def text(self) -> ItemText:
        """The template with its tokenizer."""
        text = self.data.reading(by_language_model=True).text
        assert text is not None
        return text


def open_texts(settings: Settings, checkpoint: str, splits: Sequence[str] = ()) -> ItemTexts:
    """Open the store and read its items through ``data.text``, as a language model's own tokenizer does.

    Special tokens are around each text, and a vector of it is the state of its first token; of its last one
    for a model that reads from left to right.

    Raises:
        ValueError: a checkpoint or store that cannot be read, no template, or an item longer than the model's
            positions.
    """
    pretrained = find_pretrained(checkpoint)
    if settings.data.text is None:
        raise ValueError(
            f"a model of the family '{settings.model.family}' reads items as text: `data.text` must name a "
            "template"
        )
    data = opened(settings, splits, pretrained)
    text = data.reading(by_language_model=True).text
    assert text is not None
    filled = text.from_store(data.store)
    encoding = ItemEncoding(
        template=text.template,
        prefix="",
        special_tokens="tokenizer",
        pool="last" if pretrained.family.causal else "cls",
        normalize=False,
        width=None,
        dtype="fp32",
    )
    rows = encoding.frame(text.tokenizer).around(filled)
    longest = int(rows.lengths.max(initial=0))
    if longest > pretrained.max_length:
        raise ValueError(
            f"the longest item has {longest} tokens, {pretrained.name} takes at most "
            f"{pretrained.max_length}; give the fields of `data.text.template` budgets, as in {{title:20}}"
        )
    literals = text.of([{}]).lengths[0]  # tokens of a template whose fields are all empty
    return ItemTexts(data, pretrained, encoding, rows, np.flatnonzero(filled.lengths > literals))


def text_digests(settings: Settings, texts: ItemTexts) -> dict[str, Any]:
    """Digests of all that is learned from the texts of the items."""
    return data_digests(settings, texts.data, texts.fields, users=False)


def made_with(texts: ItemTexts) -> dict[str, Any]:
    """What stands in the manifest of a language model that was trained on these texts."""
    return {"texts": texts.encoding.record(texts.pretrained, texts.rows), "store": texts.data.store.path.name}
