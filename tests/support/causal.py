"""Tiny random causal models that speak, with tokenizers of the two kinds that such models have."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.support.tiny import random_model

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
TEXTS = ["what is the film about", "a story of two friends", "sports, music and politics", "yes or no"] * 3


@cache
def byte_level() -> Any:
    """As GPT-2's, with a token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@cache
def sentencepiece() -> Any:
    """As LLaMA 2's: blanks are spelled U+2581, and bytes that no token spells have tokens of their own."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    trained = tokenizer.get_vocab()
    vocabulary = {**trained, **{letter: len(trained) + place for place, letter in enumerate(letters)}}
    import json

    merges = [tuple(each) for each in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokenizer.model = models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def fast(backend: Any, template: str | None = None) -> Any:
    """One of them as transformers has it."""
    from transformers import PreTrainedTokenizerFast

    found = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    found.chat_template = template
    return found


def speaking(model_type: str = "llama", vocab_size: int = 400, **changes: Any) -> Any:
    """A random model that does not say one token for ever: its scores are spread."""
    model = random_model(model_type, True, vocab_size=vocab_size, max_position_embeddings=256, **changes)
    weight = model.get_output_embeddings().weight
    weight.data.mul_(8.0)
    return model
