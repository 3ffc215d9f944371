"""GloVe's vectors are found in both formats, and words without one are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from legorec.data.glove import Coverage, filled, read_glove, tokens_of
from tests.support.small_store import write

VECTORS = {"the": [0.5, 1, -2], "é": [3, 4, 5], ". . .": [1, 1, 1], "b": [0.25, 0, 1e-3], "the2": [9, 9, 9]}
WORDS = ["[UNK]", "b", "é", "missing", ". . .", ""]


def text(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def lines() -> list[str]:
    return [f"{word} {' '.join(map(str, vector))}" for word, vector in VECTORS.items()]


def folder(path: Path) -> Path:
    path.mkdir()
    np.save(path / "g.npy", np.array(list(VECTORS.values()), dtype=np.float32))
    text(path / "g.words.txt", *VECTORS)
    return path


def expected() -> dict[str, np.ndarray]:
    return {word: np.array(VECTORS[word], dtype=np.float32) for word in ("b", "é", ". . .")}


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[word], wanted[word]) for word in wanted)


def test_both_formats_give_the_same(tmp_path: Path) -> None:
    assert same(read_glove(text(tmp_path / "g.txt", *lines()), WORDS), expected())
    assert same(read_glove(folder(tmp_path / "g"), WORDS), expected())


@pytest.mark.parametrize("end", ["\r", " "])
def test_a_header_and_line_ends_of_others_are_taken(tmp_path: Path, end: str) -> None:
    written = text(tmp_path / "g.vec", *(line + end for line in ["5 3", *lines()]))
    assert same(read_glove(written, WORDS), expected())


def test_the_first_of_two_vectors_is_taken(tmp_path: Path) -> None:
    found = read_glove(text(tmp_path / "g.txt", *lines(), "b 7 7 7"), ["b"])
    assert same(found, {"b": expected()["b"]})


@pytest.mark.parametrize(
    "line, number, shown",
    [("b 1 2", 6, "b 1 2"), ("b 1 2 x", 6, "b 1 2 x"), ("b 1 2 nan", 6, "b 1 2 nan"), ("", 6, "")],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, number: int, shown: str) -> None:
    path = text(tmp_path / "g.txt", *lines(), line)
    with pytest.raises(ValueError, match=f"g.txt:{number}: a line must hold a word and 3 .*; got '{shown}'"):
        read_glove(path, WORDS)


@pytest.mark.parametrize("first", ["word", "once upon a time there was a text that is long", "\0\1"])
def test_what_is_no_file_of_vectors_is_refused_at_its_first_line(tmp_path: Path, first: str) -> None:
    with pytest.raises(ValueError, match=r"g.txt:1: a line must hold a word and"):
        read_glove(text(tmp_path / "g.txt", first, *lines()), WORDS)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file of vectors, and no such folder"):
        read_glove(tmp_path / "g.txt", WORDS)
    with pytest.raises(ValueError, match="g.txt: the file holds no vectors"):
        read_glove(text(tmp_path / "g.txt"), WORDS)


def test_a_folder_must_be_whole(tmp_path: Path) -> None:
    whole = folder(tmp_path / "g")
    text(whole / "g.words.txt", "a", "b")
    with pytest.raises(ValueError, match=r"must have a word for each of the 5 rows of g.npy, it has 2"):
        read_glove(whole, WORDS)
    (whole / "g.words.txt").unlink()
    with pytest.raises(ValueError, match=r"g.words.txt: the file is missing; it holds the words of g.npy"):
        read_glove(whole, WORDS)
    np.save(whole / "g.npy", np.arange(5))
    with pytest.raises(ValueError, match=r"must be a matrix of floats, got \(5,\) of int64"):
        read_glove(whole, WORDS)
    np.save(whole / "g.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="no plain .npy matrix"):
        read_glove(whole, WORDS)
    np.save(whole / "h.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"one matrix, NAME.npy, must be in the folder, there are 2"):
        read_glove(whole, WORDS)


def test_a_matrix_with_nan_is_refused(tmp_path: Path) -> None:
    whole = folder(tmp_path / "g")
    np.save(whole / "g.npy", np.full((5, 3), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="row 1 holds values that are not finite"):
        read_glove(whole, WORDS)


def test_missing_words_are_drawn_like_the_found_ones() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = np.array([1.0, -2.0]), np.array([0.1, 3.0])
    found = {
        f"w{i}": vector.astype(np.float32) for i, vector in enumerate(rng.normal(mean, deviation, (3000, 2)))
    }
    words = [f"w{i}" for i in range(6000)]
    table = filled(words, found, seed=1)
    assert table.dtype == np.float32 and table.shape == (6000, 2)
    assert all(np.array_equal(table[i], found[f"w{i}"]) for i in range(3000))
    np.testing.assert_allclose(table[3000:].mean(0), mean, atol=0.2)
    np.testing.assert_allclose(table[3000:].std(0), deviation, rtol=0.1)
    assert np.array_equal(table, filled(words, found, seed=1))
    assert not np.array_equal(table, filled(words, found, seed=2))


def test_coverage_counts_words_and_their_occurrences(tmp_path: Path) -> None:
    """Titles: `hello , world`, `a b c` and two that training does not see: of theirs all is [UNK]."""
    store = write(tmp_path / "store")
    words = tokens_of(store, "words")
    assert set(words) == {"[UNK]", "hello", ",", "world", "a", "b", "c"} and words[0] == "[UNK]"
    found = dict.fromkeys(("a", "b", ","), np.zeros(2))
    coverage = Coverage.of(store, "words", words, found)
    values = store.items.field("title@words").rows.values
    assert coverage == Coverage(6, 3, len(values), 3)
    assert coverage.share == 0.5
    assert str(coverage).startswith(f"3 of 6 words (50.0%) and 3 of {len(values)} tokens in the items (")
