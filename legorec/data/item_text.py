"""The text of an item for a language model: a filled-in template, each segment tokenized separately."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged, joined
from legorec.data.spelled_tokens import for_text
from legorec.data.text import encode, encode_literal
from legorec.files.digest import digest_bytes
from legorec.template import Literal, Slot, parse_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from legorec.data.store import Field, Store, Table


class ItemText:
    """A template with a tokenizer. Segments are tokenized separately and joined as ids.

    So a field's tokens do not depend on the text around it, and each field keeps to its budget. A literal may
    contain the tokenizer's control tokens, such as ``[CLS]``; spelled in a field they are text.

    Args:
        tokenizer_name: of the store's tokenization, the name after the ``@`` of its text fields.
        literals: token ids (int32) of a literal; None: those of the tokenizer.
    """

    def __init__(
        self,
        template: str,
        tokenizer: Tokenizer,
        tokenizer_name: str,
        literals: Callable[[str], np.ndarray] | None = None,
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.tokenizer_name = tokenizer_name
        self._for_text = for_text(tokenizer)
        self._literals = literals or partial(encode_literal, tokenizer)
        self.segments = parse_template(template)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields that the template reads, each once."""
        return tuple(dict.fromkeys(each.field for each in self.segments if isinstance(each, Slot)))

    def from_store(self, store: Store, table: Table | None = None) -> Ragged:
        """Token ids of every item of a store; texts are not tokenized again, categories are given by name.

        Args:
            table: of the items if it is left out; or the users.

        Raises:
            StoreError: a field does not exist, or a text not in this tokenization.
        """
        stored = {name: stored_field(store, name, self.tokenizer_name, table) for name in self.field_names}
        return self._filled({name: self._tokens(store, field) for name, field in stored.items()})

    def of(self, items: Sequence[Mapping[str, str | Sequence[str]]]) -> Ragged:
        """Token ids of new items, given by their fields; a field left out is empty."""
        columns = {}
        for name in self.field_names:
            values = [item.get(name, "") for item in items]
            texts = [value if isinstance(value, str) else ", ".join(value) for value in values]
            columns[name] = encode(self._for_text, texts)
        return self._filled(columns)

    def _filled(self, columns: Mapping[str, Ragged]) -> Ragged:
        count = len(next(iter(columns.values())))
        parts = []
        for segment in self.segments:
            if isinstance(segment, Literal):
                ids = self._literals(segment.text)
                parts.append(Ragged.from_lengths(ids, [len(ids)]).take(np.zeros(count, dtype=np.int64)))
            else:
                rows = columns[segment.field]
                parts.append(rows if segment.budget is None else rows.first(segment.budget))
                if segment.missing:
                    ids = self._literals(segment.missing)
                    empty = rows.lengths == 0
                    parts.append(Ragged.from_lengths(np.tile(ids, int(empty.sum())), empty * len(ids)))
        return joined(parts)

    def _tokens(self, store: Store, field: Field) -> Ragged:
        if field.kind == "text":
            return field.rows
        if field.kind == "number":
            texts = [", ".join(f"{value:g}" for value in row) for row in field.rows]
        else:
            assert field.vocabulary is not None
            names = store.vocabulary(field.vocabulary)
            texts = [", ".join(names[value] for value in row) for row in field.rows]
        distinct, place = np.unique(np.array(texts, dtype=object), return_inverse=True)
        return encode(self._for_text, distinct.tolist()).take(place)


def stored_field(store: Store, name: str, tokenizer_name: str, table: Table | None = None) -> Field:
    """A field that a template names: a text in its tokenization, or a field of another kind.

    Args:
        table: of the items if it is left out; or the users.

    Raises:
        StoreError: it does not exist; for a text, with the command that adds it.
    """
    table = store.items if table is None else table
    if name not in table.text_names:
        return table.field(name)
    if f"{name}@{tokenizer_name}" in table.field_names:
        return table.field(f"{name}@{tokenizer_name}")
    raise StoreError(
        f"{store.path}: the text '{name}' has no tokens of '{tokenizer_name}'; add them with: python "
        f"process/retokenize.py --store {store.path} --field {name} --tokenizer {tokenizer_name}=FOLDER"
    )


def tokenization_of(store: Store, tokenizer: Tokenizer, owner: str, wanted: str | None = None) -> str:
    """The name of the store's tokenization with this tokenizer.

    Args:
        owner: whose tokenizer it is, for messages.
        wanted: the name that it must have; None takes the first equal one.
    Raises:
        StoreError: there is none, or ``wanted`` is another tokenizer; with the command that adds it.
    """
    digest = digest_bytes(tokenizer.to_str().encode())
    made_with = store.manifest["made_with"].get("tokenizers", {})
    same = [name for name, made in made_with.items() if made.get("digest") == digest]
    if wanted in same or (wanted is None and same):
        return wanted or same[0]
    name = Path(owner).name if wanted is None else wanted
    there = ", ".join(store.manifest["tokenizers"])
    if wanted is not None and wanted in store.manifest["tokenizers"]:
        other = f"; '{same[0]}' is, so leave `data.text.tokenizer` out" if same else ""
        raise StoreError(f"{store.path}: its tokenization '{wanted}' is not that of {owner}{other}")
    raise StoreError(
        f"{store.path}: none of its tokenizations ({there}) is that of {owner}; add it for each text of "
        f"the template: python process/retokenize.py --store {store.path} --field title "
        f"--tokenizer {name}={owner}"
    )
