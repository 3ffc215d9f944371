"""GloVe's word vectors (Pennington et al., 2014) for the words of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from legorec.data.text import UNKNOWN

if TYPE_CHECKING:
    from legorec.data.store import Store


def tokens_of(store: Store, tokenizer_name: str) -> list[str]:
    """The tokens of one of a store's tokenizers, by their ids; an id without a token is an empty string."""
    ids = store.tokenizer(tokenizer_name).get_vocab()
    tokens = [""] * (max(ids.values(), default=-1) + 1)
    for token, number in ids.items():
        tokens[number] = token
    return tokens


def read_glove(path: Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors of those of ``words`` that GloVe has; the first one if a word occurs twice.

    Args:
        path: GloVe's text (a word and its numbers per line), read line by line, or a folder with the matrix
            as ``NAME.npy`` and the words as ``NAME.words.txt``, one per line.
    Raises:
        ValueError: no such file or folder, a malformed line, or matrix and words that do not match.
    """
    wanted = {word.encode(): word for word in words if word}
    if path.is_dir():
        lines = _from_folder(path, wanted)
    elif path.is_file():
        lines = _from_text(path, wanted)
    else:
        raise ValueError(f"{path}: there is no such file of vectors, and no such folder")
    found: dict[str, np.ndarray] = {}
    for word, vector in lines:
        found.setdefault(wanted[word], vector)
    return found


def _from_text(path: Path, wanted: Mapping[bytes, str]) -> Iterator[tuple[bytes, np.ndarray]]:
    """Parts are counted on every line; numbers are read only on the first line and for wanted words."""
    dim = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip(b" \r\n")
            if number == 1 and _is_header(line):
                continue
            spaces = line.count(b" ")
            is_first, dim = not dim, dim or spaces
            if not 0 < dim <= spaces:
                raise _malformed(path, number, dim, line)
            # Some words of glove.840B contain spaces, so numbers are counted from the end.
            word = line[: line.index(b" ")] if spaces == dim else line.rsplit(b" ", dim)[0]
            if is_first or word in wanted:
                try:
                    vector = np.array([float(part) for part in line.split(b" ")[-dim:]], dtype=np.float32)
                except ValueError:
                    raise _malformed(path, number, dim, line) from None
                if not np.isfinite(vector).all():
                    raise _malformed(path, number, dim, line)
                if word in wanted:
                    yield word, vector
    if not dim:
        raise ValueError(f"{path}: the file holds no vectors")


def _is_header(line: bytes) -> bool:
    """Whether a first line is a header such as ``400000 300``, as word2vec and fastText write it."""
    parts = line.split(b" ")
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _malformed(path: Path, number: int, dim: int, line: bytes) -> ValueError:
    numbers = f"{dim} finite numbers" if dim else "its numbers"
    shown = line[:40].decode(errors="replace") + ("..." if len(line) > 40 else "")
    return ValueError(
        f"{path}:{number}: a line must hold a word and {numbers}, apart by spaces; got {shown!r}"
    )


def _from_folder(folder: Path, wanted: Mapping[bytes, str]) -> Iterator[tuple[bytes, np.ndarray]]:
    matrices = sorted(folder.glob("*.npy"))
    if len(matrices) != 1:
        raise ValueError(
            f"{folder}: one matrix, NAME.npy, must be in the folder, there are {len(matrices)}; of GloVe's "
            "own text files, name one"
        )
    try:
        matrix = np.load(matrices[0], mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"{matrices[0]}: no plain .npy matrix (a pickled one is refused)") from None
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise ValueError(
            f"{matrices[0]}: must be a matrix of floats, got {tuple(matrix.shape)} of {matrix.dtype}"
        )
    listed = matrices[0].with_name(f"{matrices[0].stem}.words.txt")
    if not listed.is_file():
        raise ValueError(
            f"{listed}: the file is missing; it holds the words of {matrices[0].name}, a line each"
        )
    words = listed.read_bytes().removesuffix(b"\n").split(b"\n")
    if len(words) != len(matrix):
        raise ValueError(
            f"{listed}: it must have a word for each of the {len(matrix):,} rows of {matrices[0].name}, it "
            f"has {len(words):,}"
        )
    for row, word in enumerate(words):
        if word in wanted:
            vector = np.array(matrix[row], dtype=np.float32)
            if not np.isfinite(vector).all():
                raise ValueError(f"{matrices[0]}: row {row} holds values that are not finite")
            yield word, vector


@dataclass(frozen=True)
class Coverage:
    """How much of a store's text has vectors; ``[UNK]`` is not a word and never has one."""

    words: int
    words_found: int
    occurrences: int
    occurrences_found: int

    @classmethod
    def of(
        cls, store: Store, tokenizer_name: str, words: Sequence[str], found: Mapping[str, object]
    ) -> Coverage:
        """The coverage over the fields of the items that are in this tokenization."""
        has_vector = np.array([word in found for word in words], dtype=bool)
        counts = np.zeros(len(words), dtype=np.int64)
        for name in store.items.field_names:
            field = store.items.field(name)
            if field.kind == "text" and field.vocabulary == tokenizer_name:
                counts += np.bincount(field.rows.values, minlength=len(words))
        return cls(
            words=sum(word not in ("", UNKNOWN) for word in words),
            words_found=int(has_vector.sum()),
            occurrences=int(counts.sum()),
            occurrences_found=int(counts[has_vector].sum()),
        )

    @property
    def share(self) -> float:
        """The share of the words."""
        return self.words_found / max(self.words, 1)

    def __str__(self) -> str:
        tokens = self.occurrences_found / max(self.occurrences, 1)
        return (
            f"{self.words_found:,} of {self.words:,} words ({self.share:.1%}) and {self.occurrences_found:,} "
            f"of {self.occurrences:,} tokens in the items ({tokens:.1%})"
        )


def filled(words: Sequence[str], found: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """(V, D) a row for every word; for a word without a vector, drawn from a normal distribution.

    Its mean and standard deviation are those of the found vectors, coordinate by coordinate.
    """
    given = np.stack(list(found.values()))
    drawn = np.random.default_rng(seed).normal(given.mean(0), given.std(0), (len(words), given.shape[1]))
    table = drawn.astype(np.float32)
    for row, word in enumerate(words):
        if word in found:
            table[row] = found[word]
    return table
