"""What ``size`` says of a prompted model, from a config alone, is what the model turns out to be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import worker
from legorec.engine.optim import make_optimizer
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.recipes.prompted_size import figures
from legorec.settings import read_command_line
from tests.recipes.test_prompted_checkpoint import command, store, weights
from tests.support.prompted import arguments
from tests.support.runs import run_folders

__all__ = ["store", "weights"]  # fixtures


def sizes(argv: list[str]) -> dict[str, Any]:
    return figures(read_command_line(argv))


def asked(store: Path, weights: Path, runs: Path, **flags: Any) -> list[str]:
    return command(store, weights, runs, "size", batch_size=8, **flags)


def test_it_counts_what_the_model_has_without_reading_a_weight(
    store: Path, weights: Path, tmp_path: Path
) -> None:

    bare = tmp_path / "bare"
    shutil.copytree(weights, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    found = sizes(asked(store, bare, tmp_path))
    model = CausalModel(Pretrained(weights), (11, 5), lora=LoRA(r=2, alpha=16.0, dropout=0.05))
    optimizer = make_optimizer(model, lr=0.1)
    for value in model.parameters():
        value.grad = torch.zeros_like(value) if value.requires_grad else None
    optimizer.step()
    state = sum(value.nbytes for each in optimizer.state.values() for value in each.values())
    total = found["parameters"]["total"]
    learned = [value for value in model.parameters() if value.requires_grad]
    head = model.get_buffer("head_VD").numel()
    assert total["trainable"] == sum(value.numel() for value in learned)
    assert total["all"] == sum(value.numel() for value in model.parameters()) + head
    assert found["memory"]["optimizer"] == state
    assert found["memory"]["gradients"] == sum(value.nbytes for value in learned)
    assert found["step"]["rows"] == 8 and found["step"]["learned"] < found["step"]["tokens"]


def test_a_7b_model_is_sized_from_its_config(
    store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """4,194,304 of 6.74 billion learn (TALLRec); in 8 bits with checkpoints it fits in 24 GB, in fp32 not."""
    from transformers import LlamaConfig

    shape = {"hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32}
    LlamaConfig(vocab_size=32_000, num_attention_heads=32, **shape).save_pretrained(tmp_path / "7b")
    shutil.copy(weights / "tokenizer.json", tmp_path / "7b")
    own = {"lora_r": 8, "lora_targets": "[q_proj,v_proj]"}
    small = {"bits": 8, "lm_dtype": "bf16", "gradient_checkpointing": "true"}
    whole = sizes(asked(store, tmp_path / "7b", tmp_path / "runs", **own))
    rounded = sizes(asked(store, tmp_path / "7b", tmp_path / "runs", **own, **small))
    for found in (whole, rounded):
        assert found["parameters"]["total"]["trainable"] == 4_194_304
    assert round(whole["parameters"]["total"]["all"] / 1e9, 2) == 6.74
    assert rounded["memory"]["weights"] < 7.5e9 < 26e9 < whole["memory"]["weights"]
    assert rounded["memory"]["total"] < 24e9 < whole["memory"]["total"]
    assert worker.main(asked(store, tmp_path / "7b", tmp_path / "runs", **own)) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "4,194,304 of 6,742,609,920 are trained (0.0622%)" in out
    assert run_folders(tmp_path / "runs") == []


def test_a_model_from_scratch_learns_all_of_it(store: Path, tmp_path: Path) -> None:
    argv = arguments(store, tmp_path, exp="size")
    for name in ("--epoch", "--lr"):
        del argv[argv.index(name) : argv.index(name) + 2]
    total = sizes(argv)["parameters"]["total"]
    assert total["all"] == total["trainable"] > 0
