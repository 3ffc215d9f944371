"""Token ids of the texts of a prompt, also where a word vocabulary was made from the items alone."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer, models

from legorec.data.text import encode_literal, vocab_size


class PromptVocabulary:
    """The vocabulary of a store's tokenization, with what the prompt itself says.

    A tokenizer of words or characters has its vocabulary from the items; words that only the prompt's own
    texts have get ids behind it, in order of appearance, so that instruction and answer are not all [UNK].
    The ids of any other tokenizer are its own.

    Args:
        tokenizer: of the store.
        grows: False where the model has no rows for more tokens, as a checkpoint's.
    """

    def __init__(self, tokenizer: Tokenizer, grows: bool = True) -> None:
        self.tokenizer = tokenizer
        self.stored = vocab_size(tokenizer)
        self.added: dict[str, int] = {}
        self.grows = grows and isinstance(tokenizer.model, models.WordLevel)

    @property
    def size(self) -> int:
        """One more than the highest id so far."""
        return self.stored + len(self.added)

    def encode(self, text: str) -> np.ndarray:
        """Token ids (int32) of a text of the prompt's own; words that are new are added."""
        if not self.grows or not text:
            return encode_literal(self.tokenizer, text) if text else np.empty(0, dtype=np.int32)
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        whole = normalizer.normalize_str(text) if normalizer is not None else text
        words = [word for word, _ in splitter.pre_tokenize_str(whole)] if splitter is not None else [whole]
        found = [self.tokenizer.token_to_id(word) for word in words]
        return np.array(
            [self._added(word) if known is None else known for word, known in zip(words, found, strict=True)],
            dtype=np.int32,
        )

    def _added(self, word: str) -> int:
        return self.added.setdefault(word, self.size)

    def decode(self, ids: np.ndarray) -> str:
        """The text of some ids, for people to read."""
        names = {place: word for word, place in self.added.items()}
        if not self.grows:
            return self.tokenizer.decode([int(each) for each in ids], skip_special_tokens=False)
        return " ".join(names.get(int(each)) or str(self.tokenizer.id_to_token(int(each))) for each in ids)
