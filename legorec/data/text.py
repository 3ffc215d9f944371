"""Tokenizers of a store: Hugging Face folders, words and characters, all of them ``tokenizers.Tokenizer``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from legorec.data.layout import StoreError, check_name
from legorec.data.ragged import Ragged
from legorec.data.spelled_tokens import for_text
from legorec.files.digest import digest_bytes

UNKNOWN = "[UNK]"
MADE = ("words", "chars", "titles")  # whose vocabularies are made from the items
BATCH = 4096
# For a folder with none of these, transformers would make up an empty tokenizer.
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", *SENTENCEPIECE)


@dataclass(frozen=True)
class TokenizerChoice:
    """Where a store's tokenizer ``name`` comes from.

    Words are lower-cased and split at spaces and around punctuation; characters are all but spaces; of titles
    each text is one token as a whole. All take their vocabulary from the items that training may see, the
    most frequent first; id 0 is ``[UNK]``.

    Args:
        name: the name after the ``@`` of a field.
        folder: of a Hugging Face tokenizer; None for one of ``MADE``.
        min_count: tokens that are rarer than this in training become ``[UNK]``.
        max_size: maximum size of the vocabulary; None keeps all.
    """

    name: str
    folder: Path | None = None
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "tokenizer")
        if "@" in self.name:
            raise StoreError(f"tokenizer '{self.name}' may not hold '@'")
        if self.folder is None and self.name not in MADE:
            raise StoreError(
                f"tokenizer '{self.name}' needs a folder, {self.name}=FOLDER; {', '.join(MADE)} need none"
            )
        if self.min_count < 1:
            raise StoreError(f"`min_count` must be at least 1, got {self.min_count}")
        if self.max_size is not None and self.max_size < 2:
            raise StoreError(f"`max_size` must be at least 2, got {self.max_size}")

    @classmethod
    def parse(cls, text: str, min_count: int = 1, max_size: int | None = None) -> TokenizerChoice:
        """One of ``MADE``, or ``name=folder``."""
        name, given, folder = text.partition("=")
        return cls(name, Path(folder)) if given else cls(name, None, min_count, max_size)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings for the manifest, without paths."""
        if self.folder is not None:
            return {"kind": "folder", "digest": digest_bytes(load_tokenizer(self.folder).to_str().encode())}
        return {"kind": self.name, "min_count": self.min_count, "max_size": self.max_size}

    def build(self, texts: Iterator[str]) -> Tokenizer:
        """The tokenizer; a vocabulary may be taken from ``texts``."""
        if self.folder is not None:
            return load_tokenizer(self.folder)
        tokenizer = Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
        if self.name == "words":
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        elif self.name == "titles":
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
        else:
            tokenizer.normalizer = normalizers.NFC()
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
            )
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.max_size or 2**31 - 1,
            min_frequency=self.min_count,
            special_tokens=[UNKNOWN],
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        # The trainer marks [UNK] as an added token, found in any text that contains these characters. Here
        # it is a plain entry.
        return _plain(tokenizer)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face folder, without padding or truncation.

    ``tokenizer.json`` is read directly; a folder with older files (``vocab.txt``, a sentencepiece model) is
    read by transformers, from the folder alone.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such tokenizer folder")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise StoreError(f"{folder}: it holds no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    whole = (folder / "tokenizer.json").is_file()
    if not whole:
        _require_sentencepiece(folder)
    try:
        if whole:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from transformers import AutoTokenizer

            loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, use_fast=True)
            tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as problem:  # each library raises exceptions of its own
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise StoreError(f"{folder}: no tokenizer could be read from it ({reason})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _require_sentencepiece(folder: Path) -> None:
    """Refuse a folder whose tokenizer needs libraries that are not installed; transformers names others."""
    files = [folder / name for name in SENTENCEPIECE if (folder / name).is_file()]
    # A file of the same name that begins with text is one of tiktoken's.
    model = next((file for file in files if file.read_bytes()[:1] == b"\n"), None)
    needed = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
    lacking = [name for name, module in needed.items() if not _is_installed(module)]
    if model is not None and lacking:
        raise StoreError(
            f"{model}: a sentencepiece model, which needs {' and '.join(lacking)} to be read: pip install "
            f"{' '.join(lacking)}, or put the tokenizer.json beside it that save_pretrained of transformers "
            "writes where they are installed"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def vocab_size(tokenizer: Tokenizer) -> int:
    """One more than the highest id: a table of this many rows has one for every token."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Token ids (int32) of texts, without truncation. What spells a control token is text like any other.

    Args:
        tokenizer: any; one that ``for_text`` has made spares making it for every call.
    Raises:
        StoreError: a text has a word without a token, and the vocabulary has no token for unknown words.
    """
    return _encode(for_text(tokenizer), texts)


def encode_literal(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Token ids (int32) of a text of our own, in which ``[SEP]`` is that token.

    Raises: as ``encode``.
    """
    return _encode(tokenizer, [text]).values


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(texts), BATCH):
        rows = _encoded(tokenizer, list(texts[start : start + BATCH]))
        lengths += map(len, rows)
        ids.append(np.fromiter(chain.from_iterable(rows), dtype=np.int32))
    values = np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)
    return Ragged.from_lengths(values, lengths)


def _encoded(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    try:
        return [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    except Exception as problem:  # the library raises a bare exception that names no text
        if len(texts) > 1:
            return [_encoded(tokenizer, [text])[0] for text in texts]
        raise StoreError(
            f"the text {texts[0]!r} has words that its vocabulary lacks ({problem}); leave them out, or "
            "import the depot with the tokenizer that made it, --tokenizer NAME=FOLDER of process/unitok.py"
        ) from None


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    plain = Tokenizer(models.WordLevel(tokenizer.get_vocab(with_added_tokens=True), unk_token=UNKNOWN))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    return plain
