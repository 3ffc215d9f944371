"""Tokenizers: words, characters, folders; UniTok's own tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from legorec.data.store import StoreError
from legorec.data.text import TokenizerChoice, encode, load_tokenizer, vocab_size
from legorec.data.writing.columns import encode_categories
from legorec.data.writing.writer import StoreWriter

LINES = ["The cat's hat -- the CAT!", "", "  ", "naïve Ünïcode", "the end"]


def tokens(choice: TokenizerChoice, texts: list[str], fitted_on: list[str]) -> list[list[str]]:
    tokenizer = choice.build(iter(fitted_on))
    return [[tokenizer.id_to_token(token) for token in row] for row in encode(tokenizer, texts)]


def test_words() -> None:
    assert tokens(TokenizerChoice("words"), LINES, LINES) == [
        ["the", "cat", "'", "s", "hat", "-", "-", "the", "cat", "!"],
        [],
        [],
        ["naïve", "ünïcode"],
        ["the", "end"],
    ]
    assert tokens(TokenizerChoice("words"), ["the dog [UNK]"], LINES) == [["the"] + ["[UNK]"] * 4]


def test_words_in_order_of_their_counts() -> None:
    tokenizer = TokenizerChoice("words").build(iter(["b b c", "a c b"]))
    assert tokenizer.get_vocab() == {"[UNK]": 0, "b": 1, "c": 2, "a": 3}


def test_rare_words_and_largest_vocabulary() -> None:
    assert tokens(TokenizerChoice("words", min_count=2), ["the hat"], LINES) == [["the", "[UNK]"]]
    assert vocab_size(TokenizerChoice("words", max_size=3).build(iter(LINES))) == 3


def test_characters() -> None:
    assert tokens(TokenizerChoice("chars"), ["新 聞, ok"], ["新聞, o k"]) == [["新", "聞", ",", "o", "k"]]
    assert tokens(TokenizerChoice("chars"), ["a\nb"], ["a\nb"]) == [["a", "b"]]


def folder_tokenizer(folder: Path) -> Path:
    """A tokenizer with everything that a store must not use: special tokens, padding, truncation."""
    vocab = {"[UNK]": 0, "[CLS]": 1, "hello": 2, "world": 3, "z": 9}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_folder_is_used_without_special_tokens_padding_and_truncation(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder_tokenizer(tmp_path / "bert"))
    assert [row.tolist() for row in encode(tokenizer, ["hello world hello", ""])] == [[2, 3, 2], []]
    assert vocab_size(tokenizer) == 10, "ids have a gap: the table needs the highest"


def test_a_folder_with_a_vocabulary_file_alone(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hel", "##lo", "world"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = load_tokenizer(tmp_path)
    assert [row.tolist() for row in encode(tokenizer, ["Hello world"])] == [[5, 6, 7]]


def test_wrong_tokenizers_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such tokenizer folder"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(StoreError, match="no tokenizer could be read from it"):
        load_tokenizer(tmp_path)
    with pytest.raises(StoreError, match="tokenizer 'bert' needs a folder, bert=FOLDER"):
        TokenizerChoice.parse("bert")
    with pytest.raises(StoreError, match="'words' is named twice"):
        StoreWriter(tmp_path / "store", {}, [TokenizerChoice("words"), TokenizerChoice("words")])


def test_tokens_equal_unitoks_on_1000_rows(tmp_path: Path) -> None:
    """Where both mean the same: categories, lists split at a space, and the words of a BERT vocabulary."""
    pytest.importorskip("nltk")
    unitok = pytest.importorskip("unitok")
    rng = np.random.default_rng(7)
    category = [f"c{number}" for number in rng.integers(0, 30, 1000)]
    lists = [" ".join(f"t{n}" for n in rng.integers(0, 50, size)) for size in rng.integers(1, 6, 1000)]
    with unitok.UniTok():
        entity = unitok.EntityTokenizer(vocab="category")
        split = unitok.SplitTokenizer(vocab="tags", sep=" ")
        theirs = [[entity(value) for value in category], [split(value) for value in lists]]
        names = [list(entity.vocab), list(split.vocab)]
    frame = pl.DataFrame({"category": category, "tags": pl.Series(lists).str.split(" ")})
    for column, rows, vocabulary in zip(("category", "tags"), theirs, names, strict=True):
        ours = encode_categories(frame[column], vocabulary)
        assert [row.tolist() for row in ours] == [row if isinstance(row, list) else [row] for row in rows]


def test_wordpieces_equal_unitoks_on_1000_rows(tmp_path: Path) -> None:
    pytest.importorskip("nltk")
    unitok = pytest.importorskip("unitok")
    transformers = pytest.importorskip("transformers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##like", "##ly", "win", "##s", "!", "the"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    loaded = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    loaded.save_pretrained(tmp_path / "bert")
    rng = np.random.default_rng(3)
    words = ["unlikely", "WINS", "the", "win!", "zebra", "un like"]
    lines = [" ".join(rng.choice(words, size)) for size in rng.integers(1, 9, 1000)]
    with unitok.UniTok():
        tokenizer = unitok.TransformersTokenizer(vocab="bert", key=str(tmp_path / "bert"))
        theirs = [tokenizer(line) for line in lines]
    assert [row.tolist() for row in encode(load_tokenizer(tmp_path / "bert"), lines)] == theirs
    assert sum(map(len, theirs)) > 1000


def test_a_sentencepiece_model_alone_is_read_or_what_it_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers, where they are missing, asks for tiktoken, which does not help."""
    monkeypatch.setattr("legorec.data.text.find_spec", lambda name: None)
    for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
        with pytest.raises(
            StoreError, match=f"{name}: a sentencepiece model, .* pip install sentencepiece proto"
        ):
            load_tokenizer(folder)
    monkeypatch.setattr("legorec.data.text.find_spec", lambda name: name == "google.protobuf" or None)
    with pytest.raises(StoreError, match="needs sentencepiece to be read: pip install sentencepiece, or put"):
        load_tokenizer(folder)
    (folder / name).write_bytes(b"IQ== 0\nIg== 1\n")  # of tiktoken
    with pytest.raises(StoreError, match=r"no tokenizer could be read from it \((?!.*sentencepiece)"):
        load_tokenizer(folder)


def test_titles_are_one_token_each() -> None:
    titles = ["Toy Story (1995)", "toy story (1995)", " Heat "]
    found = tokens(TokenizerChoice("titles"), [*titles, "Toy Story", "Heat"], titles)
    assert found == [["Toy Story (1995)"], ["toy story (1995)"], ["Heat"], ["[UNK]"], ["Heat"]]
