"""What spells a control token in the data is text; in a template's literal it is that token."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import polars as pl
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from legorec.data.item_text import ItemText
from legorec.data.spelled_tokens import for_text
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice, encode, encode_literal
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

CONTROL = ["<unk>", "<s>", "</s>", "[SEP]"]
TEXTS = ["was <s>$9</s> now", "<s>", "a [SEP] b", "</s></s>", "[sep] < s >", "plain words"]
FITTED = ["a b c was now plain words $9 [ ] < > / s sep SEP unk"] * 9


def bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        FITTED, trainers.BpeTrainer(special_tokens=CONTROL, show_progress=False, vocab_size=80)
    )
    return tokenizer


def bpe_with_merges() -> Tokenizer:
    """One that learned the spelling before it was made a control token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    lines = [*FITTED, *["<s> </s> [SEP]"] * 50]
    tokenizer.train_from_iterator(
        lines, trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False, vocab_size=120)
    )
    learned = [token for token in ("<s>", "</s>", "[SEP]") if token in tokenizer.get_vocab()]
    tokenizer.add_special_tokens([*learned, *CONTROL])
    assert learned
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=CONTROL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(FITTED, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """Control tokens stand in its vocabulary with the best score of all, as sentencepiece has them."""
    pieces = [*[(token, 0.0) for token in CONTROL], *[(char, -3.0) for char in "▁abcdfghijklmnopqrstuvwxyz"]]
    pieces += [(char, -4.0) for char in "<>/[]$9SEP"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(CONTROL)
    return tokenizer


def word_piece() -> Tokenizer:
    vocab = {
        token: row for row, token in enumerate([*CONTROL, *"[]<>/$9", "a", "b", "s", "sep", "now", "was"])
    }
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, normalized=True) for token in CONTROL])
    return tokenizer


def words() -> Tokenizer:
    """Words between spaces, so that a control token can be one."""
    vocab = {token: row for row, token in enumerate([*CONTROL, "a", "b", "now", "was"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(CONTROL)
    return tokenizer


KINDS = [bpe, bpe_with_merges, byte_level, unigram, word_piece, words]


@pytest.mark.parametrize("make", KINDS)
def test_a_text_has_no_control_tokens(make) -> None:
    tokenizer = make()
    before = tokenizer.to_str()
    control = {tokenizer.token_to_id(token) for token in CONTROL[1:]}
    found = [row.tolist() for row in encode(tokenizer, TEXTS)]
    assert all(found) and not any(control & set(row) for row in found)
    assert {encode_literal(tokenizer, token).tolist()[-1] for token in CONTROL[1:]} == control
    assert tokenizer.to_str() == before, "its digest is that of the store"


@pytest.mark.parametrize("make", KINDS)
def test_all_other_texts_have_the_tokens_they_had(make) -> None:
    tokenizer = make()
    tokenizer.add_tokens(["plain", AddedToken("nowhere", normalized=False)])
    for text in ("plain words", "was a b now", "", " s  <  [ nowhere", "ünïcode 聞 \U0001f600", "Ω a"):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert encode(tokenizer, [text])[0].tolist() == expected
    assert encode(tokenizer, ["plain"])[0].tolist()[-1] == tokenizer.token_to_id("plain"), (
        "not a control token"
    )


def test_copies_and_threads_find_none_either() -> None:
    one = for_text(unigram())
    expected = [row.tolist() for row in encode(one, TEXTS)]
    for each in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), for_text(one)):
        assert [row.tolist() for row in encode(each, TEXTS)] == expected
    assert for_text(one) is one
    text, seen = ItemText("<s>{title}</s>", unigram(), "llama"), []

    def run() -> None:
        for _ in range(20):
            rows = text.of([{"title": title} for title in TEXTS])
            seen.append([row.tolist() for row in rows])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80 and all(rows == seen[0] for rows in seen)
    assert all({row[0], row[-1]} == {1, 2} and not {1, 2} & set(row[1:-1]) for row in seen[0])


def test_wherever_a_store_is_tokenized(tmp_path: Path) -> None:
    """Written with it, tokenized again, a category in a template, and an item that is new."""
    (tmp_path / "lm").mkdir()
    unigram().save(str(tmp_path / "lm" / "tokenizer.json"))
    frame = pl.DataFrame({"id": list("abcdef"), "title": TEXTS, "kind": ["<s>", "[SEP]"] * 3})
    columns = [Column("title", "text"), Column("kind", "category")]
    with StoreWriter(tmp_path / "store", {}, [TokenizerChoice("lm", tmp_path / "lm")]) as writer:
        writer.items(frame, columns)
    (tmp_path / "again").mkdir()
    other = unigram()
    other.add_tokens(["more"])
    other.save(str(tmp_path / "again" / "tokenizer.json"))
    add_tokenization(tmp_path / "store", "title", TokenizerChoice("again", tmp_path / "again"))
    store = Store.open(tmp_path / "store")
    for name in ("lm", "again"):
        text = ItemText("<s>{title}[SEP]{kind}", store.tokenizer(name), name)
        rows = text.from_store(store)
        fresh = [{"title": row["title"], "kind": row["kind"]} for row in frame.to_dicts()]
        assert text.of(fresh) == rows
        assert all(row[0] == 1 and row[1:].tolist().count(3) == 1 and not {1, 2} & {*row[1:]} for row in rows)
