"""A closed list or a JSON schema as an automaton over tokens (Willard and Louf, 2023), by outlines-core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from legorec.texts.generator import AnswerFormat

_SIGNS = frozenset(r"\.+*?()|[]{}^$")
KEPT = 64  # automata of formats that are kept


class Automata:
    """The automata of one model's vocabulary; each is built once.

    Args:
        spelled: token id -> bytes, as ``token_bytes`` has it.
        end: the token that ends a text.
        vocab_size: of the model's scores, which may be more than there are tokens.

    Raises:
        ValueError: ``outlines-core`` is not installed.
    """

    def __init__(self, spelled: Mapping[int, bytes], end: int, vocab_size: int) -> None:
        try:
            from outlines_core import Vocabulary
        except ImportError as error:
            raise ValueError(
                "a local model is held to a format by `outlines-core`: pip install 'legorec[texts]', or set "
                "`structured: false`, which asks for it in words"
            ) from error
        ids: dict[bytes, list[int]] = {}
        for token, spelling in spelled.items():
            if token != end and token < vocab_size:
                ids.setdefault(spelling, []).append(token)
        self._vocabulary = Vocabulary(end, ids)
        self._end, self._vocab_size = end, vocab_size
        self._indexes: dict[str, Any] = {}

    def guide(self, form: AnswerFormat) -> TokenGuide:
        """One row's way through the automaton of a format.

        Raises:
            ValueError: the schema cannot be made one, or no token sequence spells it.
        """
        from outlines_core import Guide, Index

        pattern = pattern_of(form)
        if pattern not in self._indexes:
            while len(self._indexes) >= KEPT:
                self._indexes.pop(next(iter(self._indexes)))
            try:
                self._indexes[pattern] = Index(pattern, self._vocabulary)
            except Exception as error:  # of its own kind, without a name
                raise ValueError(f"no automaton can be made of the answer's format: {error}") from error
        return TokenGuide(Guide(self._indexes[pattern]), self._end, self._vocab_size)


class TokenGuide:
    """See ``decoding.Guide``."""

    def __init__(self, guide: Any, end: int, vocab_size: int) -> None:
        self._guide, self._end, self._vocab_size = guide, end, vocab_size
        self._bits = np.zeros((vocab_size + 31) // 32, dtype=np.int32)

    def allowed(self) -> np.ndarray:
        """(V,) True for each token that may come."""
        self._bits[:] = 0
        self._guide.write_mask_into(self._bits.ctypes.data, self._bits.size, self._bits.itemsize)
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little", count=self._vocab_size)
        return bits.view(bool)

    def advance(self, token: int) -> bool:
        """Go on by a token; True: nothing but the end can follow."""
        tokens = self._guide.advance(token)
        return not tokens or (self._guide.is_finished() and set(tokens) <= {self._end})


def pattern_of(form: AnswerFormat) -> str:
    """The regular expression of a format.

    A blank may come before the answer: after a prompt most vocabularies begin a word with one.

    Raises:
        ValueError: the schema has a word that cannot be one.
    """
    from outlines_core.json_schema import build_regex_from_schema

    if form.schema is None:
        # The longest first: of alternatives the first that fits counts, and would hide one that goes on.
        ordered = sorted(form.choices, key=len, reverse=True)
        return f" ?({'|'.join(map(_plain, ordered))})"
    try:
        return f" ?{build_regex_from_schema(json.dumps(form.schema))}"
    except Exception as error:  # of its own kind, without a name
        raise ValueError(f"no automaton can be made of the answer's schema: {error}") from error


def _plain(text: str) -> str:
    """A text as an expression that nothing else fits."""
    return "".join(f"\\{sign}" if sign in _SIGNS else sign for sign in text)
