import pytest

from legorec.texts.token_bytes import token_bytes
from tests.support.causal import byte_level, fast, sentencepiece

TEXTS = ["what is it", " a  blank", "caf\u00e9 \u2581 \U0001f3ac", "tab\tand\nline", "{}[]<0x41>"]


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_its_tokens_are_those_of_a_text(kind, text):
    tokenizer = fast(kind())
    spelled = token_bytes(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    joined = b"".join(spelled[token] for token in ids)
    # sentencepiece's kind puts a blank before a text, and takes U+2581 for a blank.
    expected = text if kind is byte_level else " " + text.replace("\u2581", " ")
    assert joined.decode() == expected


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
def test_special_tokens_spell_nothing(kind):
    tokenizer = fast(kind())
    assert not set(tokenizer.all_special_ids) & set(token_bytes(tokenizer))
    assert len(token_bytes(tokenizer)) == len(tokenizer) - 4


def test_a_plain_added_token_spells_itself():
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(byte_level().to_str())
    backend.add_tokens(["caf\u00e9 au lait"])
    tokenizer = fast(backend)
    assert token_bytes(tokenizer)[len(tokenizer) - 1] == "caf\u00e9 au lait".encode()


def test_another_kind_is_refused():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    backend = Tokenizer(models.WordPiece({"<unk>": 0, "a": 1, "##b": 2}, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    with pytest.raises(ValueError, match="neither byte-level nor sentencepiece's"):
        token_bytes(fast(backend))
