"""What each token of a vocabulary stands for, as bytes within a text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(tokenizer: Any) -> dict[int, bytes]:
    """Token id -> its bytes; special tokens are left out.

    The two kinds that causal models have are known: byte-level ones (GPT-2, LLaMA 3, Qwen), whose tokens are
    spelled with one printable character a byte, and sentencepiece's (LLaMA 2, Mistral, Gemma), which spell a
    blank as U+2581 and may have ``<0x0A>`` for a byte.

    Args:
        tokenizer: of transformers, with one of the tokenizers library inside.

    Raises:
        ValueError: it is of another kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("the model's tokenizer has no tokenizer.json, so its tokens cannot be spelled")
    facts = json.loads(backend.to_str())
    spell = _spelling(facts)
    added = {each["id"]: each for each in facts.get("added_tokens", [])}
    found = {}
    for token, place in tokenizer.get_vocab().items():
        if place not in added:
            found[place] = spell(token)
        elif not added[place]["special"]:
            found[place] = token.encode()
    return {place: spelled for place, spelled in found.items() if spelled}


def _spelling(facts: dict[str, Any]) -> Callable[[str], bytes]:
    """From a token as the vocabulary has it to its bytes."""
    kinds = set(_types(facts.get("decoder"))) | set(_types(facts.get("pre_tokenizer")))
    if "ByteLevel" in kinds:
        return _of_byte_level
    if kinds & {"Metaspace", "ByteFallback"} or "\u2581" in json.dumps(
        facts.get("normalizer"), ensure_ascii=False
    ):
        return _of_sentencepiece
    raise ValueError(
        "the model's tokenizer is neither byte-level nor sentencepiece's, so its tokens cannot be spelled; "
        "set `structured: false`, by which an answer's form is asked for in words"
    )


def _types(part: Any) -> list[str]:
    """The ``type`` of every part within a part of a tokenizer.json."""
    if isinstance(part, dict):
        own = [part["type"]] if isinstance(part.get("type"), str) else []
        return own + [each for value in part.values() for each in _types(value)]
    return [each for value in part for each in _types(value)] if isinstance(part, list) else []


def _of_byte_level(token: str) -> bytes:
    letters = _byte_letters()
    if all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    return token.encode()


def _of_sentencepiece(token: str) -> bytes:
    if byte := _BYTE.fullmatch(token):
        return bytes([int(byte[1], 16)])
    return token.replace("\u2581", " ").encode()


@cache
def _byte_letters() -> dict[str, int]:
    """GPT-2's letters of the 256 bytes: printable ones stand for themselves, others come after them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {
        **{chr(byte): byte for byte in plain},
        **{chr(256 + place): byte for place, byte in enumerate(others)},
    }
