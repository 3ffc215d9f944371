"""What stands around the text of every item: the tokenizer's own special tokens, and an instruction."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from legorec.data.ragged import Ragged, joined
from legorec.data.text import encode_literal
from legorec.template import Literal as LiteralSegment
from legorec.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

SpecialTokens = Literal["tokenizer", "template"]
SPECIAL_TOKENS = ("tokenizer", "template")


@dataclass(frozen=True)
class TextFrame:
    """Token ids before and after the text of every item.

    The special tokens are those that the post-processor of ``tokenizer.json`` puts there, such as ``[CLS]``
    and ``[SEP]``, a beginning or an end of text. Those that the template spells at the same end are not put
    there twice, and the instruction goes after those at the beginning.

    Args:
        before: ids in front of the text, the instruction's last.
        after: ids behind the text.
        spelled: how many of the first ids of a filled template are the special tokens that it spells.
        said: what stands around the text, in words.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    spelled: int
    said: str

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        template: str,
        prefix: str = "",
        special_tokens: SpecialTokens = "tokenizer",
    ) -> TextFrame:
        """The frame of a template.

        Args:
            prefix: the instruction, such as ``passage: ``, tokenized by itself as each segment is.
            special_tokens: ``template`` leaves those that the tokenizer would add to the template.
        """
        first, last = special_tokens_around(tokenizer)
        segments = parse_template(template)
        spelled = len(first) if _literal(tokenizer, segments[0])[: len(first)] == first else 0
        ended = bool(last) and _literal(tokenizer, segments[-1])[-len(last) :] == last
        added = special_tokens == "tokenizer"
        ids = encode_literal(tokenizer, prefix).tolist() if prefix else []
        before = (first if spelled or added else []) + ids
        after = last if added and not ended else []
        own = [(first, bool(spelled), "before"), (last, ended, "after")]
        said = [_in_words(tokenizer, *each, added) for each in own if each[0]]
        return cls(tuple(before), tuple(after), spelled, ", ".join(said) or "the tokenizer adds none")

    def around(self, rows: Ragged) -> Ragged:
        """The token ids of filled templates with what stands around them."""
        ends = np.arange(len(rows))
        body = rows.slices(ends, rows.offsets[:-1] + self.spelled, rows.offsets[1:])
        return joined([_repeated(self.before, len(rows)), body, _repeated(self.after, len(rows))])


def special_tokens_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer's post-processor puts before and after a single text."""
    return _added_by(json.loads(tokenizer.to_str())["post_processor"])


def _added_by(processor: dict[str, Any] | None) -> tuple[list[int], list[int]]:
    kind = processor["type"] if processor is not None else None
    if processor is None or kind == "ByteLevel":
        return [], []
    if kind == "Sequence":  # each takes what the ones before have made
        first: list[int] = []
        last: list[int] = []
        for part in processor["processors"]:
            before, after = _added_by(part)
            first, last = before + first, last + after
        return first, last
    if kind in ("BertProcessing", "RobertaProcessing"):
        return [processor["cls"][1]], [processor["sep"][1]]
    assert kind == "TemplateProcessing", "the library has no other"
    pieces = processor["single"]
    place = next(place for place, piece in enumerate(pieces) if "Sequence" in piece)
    known = processor["special_tokens"]

    def ids(chosen: Sequence[dict[str, Any]]) -> list[int]:
        return [number for piece in chosen for number in known[piece["SpecialToken"]["id"]]["ids"]]

    return ids(pieces[:place]), ids(pieces[place + 1 :])


def _literal(tokenizer: Tokenizer, segment: Any) -> list[int]:
    return encode_literal(tokenizer, segment.text).tolist() if isinstance(segment, LiteralSegment) else []


def _in_words(tokenizer: Tokenizer, ids: list[int], spelled: bool, side: str, added: bool) -> str:
    names = " ".join(str(tokenizer.id_to_token(number)) for number in ids)
    how = "in the template" if spelled else "added" if added else "left out"
    return f"{names} {side} the text ({how})"


def _repeated(ids: Sequence[int], count: int) -> Ragged:
    row = Ragged.from_lengths(np.array(ids, dtype=np.int32), [len(ids)])
    return row.take(np.zeros(count, dtype=np.int64))
