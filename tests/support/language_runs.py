"""A tiny store whose titles a tiny language model can read, and command lines of the worker on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.item_text import ItemText
from legorec.data.ragged import Ragged
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.lm.pretrained import Pretrained
from tests.support.runs import ROOT, WORDS, small_flags, write_store
from tests.support.tiny import VOCABULARY, tiny

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def write_language_model(folder: Path, model_type: str, **changes: Any) -> Pretrained:
    """A tiny random checkpoint without dropout, with a tokenizer of the store's words."""
    pretrained = tiny(model_type, folder, **NO_DROPOUT, **changes)
    words = ["<unk>", "<s>", "</s>", "[CLS]", "[SEP]", "Title", "Category", ":", "news", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return pretrained


def write_language_store(path: Path, **tokenizers: Path) -> Path:
    """The store of ``runs`` with more tokenizations of its titles: name = folder of the tokenizer."""
    write_store(path)
    for name, folder in tokenizers.items():
        add_tokenization(path, "title", TokenizerChoice(name, folder))
    return path


def language_arguments(
    store: Path, model_folder: Path, cache: Path, runs: Path, /, model: str, exp: str, **flags: Any
) -> list[str]:
    """The command line of a small run with a language model; ``data__name`` stands for ``--data.name``."""
    kind = model.partition("-")[0]
    files = {"data": f"data/mind-{kind}", "model": f"model/{model}", "exp": f"exp/{exp}"}
    found = [part for name, file in files.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    given = {"data__store": store, "runs": runs, "device": "cpu", "llm_ver": "tiny"}
    given |= {"lm_path": model_folder, "cache": cache, "hidden_size": 16}
    if "split" not in exp:
        given |= {key: value for key, value in small_flags(exp).items() if key != "embed_hidden_size"}
        if "naml" in model:
            del given["heads"]
    for key, value in (given | flags).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('__', '.')}", text]
    return found


def text_catalog(num_items: int = 12) -> Catalog:
    """Texts of 0 to 6 random tokens; item 3 has none."""
    lengths = np.random.default_rng(1).integers(0, 7, num_items)
    lengths[3] = 0
    values = np.random.default_rng(2).integers(3, VOCABULARY, int(lengths.sum())).astype(np.int32)
    tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(VOCABULARY)}))
    field = CatalogField("text", "text", "tiny", VOCABULARY, 6)
    return Catalog([field], [Ragged.from_lengths(values, lengths)], ItemText("{title}", tokenizer, "tiny"))
