"""A tiny store whose titles a tiny model with a mask can read, and command lines of the stages of CELA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from legorec.aligning.items import ItemBatch
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.lm.pretrained import Pretrained
from tests.support.runs import ROOT, WORDS, write_store
from tests.support.tiny import tiny

SPECIAL = ("[CLS]", "[SEP]", "[MASK]")
SMALL = {"epoch": 2, "batch_size": 8, "patience": 9}


def tokenizer(special: tuple[str, ...] = SPECIAL) -> Tokenizer:
    """The words of the tiny stores, with special tokens."""
    words = ["<unk>", "<pad>", *special, *WORDS]
    made = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(list(special))
    return made


def text_model(folder: Path, model_type: str = "bert", dropout: float = 0.1) -> Pretrained:
    """A tiny random checkpoint with such a tokenizer."""
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    made = tiny(model_type, folder, **(rates if model_type == "bert" else {}))
    tokenizer(SPECIAL if model_type == "bert" else SPECIAL[:2]).save(str(folder / "tokenizer.json"))
    return made


def text_store(path: Path, model: Path, num_items: int = 60) -> Path:
    """The store of ``runs`` whose titles have the tokenization of a model too."""
    write_store(path, num_items=num_items)
    add_tokenization(path, "title", TokenizerChoice("tiny", model))
    return path


def batch_of(lengths: list[int], seed: int = 0, number: int = 0) -> ItemBatch:
    """Texts of ordinary tokens."""
    tokens = np.random.default_rng(seed).integers(10, 50, sum(lengths))
    rows = torch.arange(len(lengths))
    return ItemBatch(rows, torch.from_numpy(tokens), torch.tensor(lengths), number)


def arguments(store: Path, runs: Path, data: str, model: str, exp: str, **flags: Any) -> list[str]:
    """The command line of one stage; ``data__name`` stands for ``--data.name``."""
    layers = {"data": f"data/{data}", "model": f"model/{model}", "exp": f"exp/{exp}"}
    found = [part for name, file in layers.items() for part in (f"--{name}", f"{ROOT}/config/{file}.yaml")]
    given: dict[str, Any] = {"data__store": store, "runs": runs, "device": "cpu", **SMALL, **flags}
    for key, value in given.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('__', '.')}", text]
    return found


def clicks(store: Path, runs: Path, model: str = "cela-din", **flags: Any) -> list[str]:
    """The command line of a stage over clicks."""
    return arguments(store, runs, "synthetic-fields", model, "cela-clicks", **{"eval_batch_size": 8} | flags)


def texts(store: Path, runs: Path, model: str, checkpoint: Path, **flags: Any) -> list[str]:
    """The command line of a stage over texts."""
    return arguments(store, runs, "synthetic-text", model, "cela-texts", lm_path=checkpoint, **flags)
