"""Prompted models from a checkpoint: zero-shot, tuned with LoRA, and measured again."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import pytest
from tokenizers import Tokenizer

import worker
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.engine import checkpoint
from tests.support.causal import byte_level, fast
from tests.support.launching import one_thread, prepared, shared
from tests.support.prompted import arguments, marked_store
from tests.support.runs import ROOT, differences, finish, only_run, refused
from tests.support.tiny import random_model

SHORT = (  # a prompt
    "[{name: liked, history: '{name}', marks: [liked], last: 2}, {name: target, item: ' ? {name}'}, "
    "{name: cue, text: ' :'}, {name: answer, answer: [Yes, No]}]"
)
STOP = """
import signal, torch
steps, step = [], torch.optim.AdamW.step
def signalled(self, *given, **named):
    steps.append(1)
    if len(steps) == 6 and rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, *given, **named)
torch.optim.AdamW.step = signalled
"""
LORA = {"epoch": 2, "batch_size": 16, "lr": 1e-2, "lora_r": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", head=True, vocab_size=400, max_position_embeddings=600).save_pretrained(folder)
    byte_level().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def store(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marked") / "store"
    marked_store(path, num_users=20, examples=3)
    add_tokenization(path, "name", TokenizerChoice("llama", weights))
    return path


def command(store: Path, weights: Path, runs: Path, exp: str = "tallrec", **flags: Any) -> list[str]:
    """As that of a model from scratch, with the tokenizer that the checkpoint brings."""
    small = LORA if exp == "tallrec" else {"lora_r": 2}
    given = {"data": "data/tallrec-movie", "model": "model/tallrec-lora", "exp": f"exp/{exp}"}
    files = {name: f"{ROOT}/config/{file}.yaml" for name, file in given.items()}
    own = {"data.store": store, "runs": runs, "device": "cpu", "lm_path": weights}
    own["model.prompt.segments"] = SHORT
    return [part for key, value in (files | own | small | flags).items() for part in (f"--{key}", str(value))]


def test_zero_shot_is_the_checkpoint_before_training_and_lora_starts_there(
    store: Path, weights: Path, tmp_path: Path
) -> None:
    with one_thread():
        zero = finish(command(store, weights, tmp_path / "zero", "tallrec-test"))
        assert "zero-shot: weights as they were before any training here" in (zero / "run.log").read_text()
        still = finish(command(store, weights, tmp_path / "still", lr=1e-12, epoch=1))
        tuned = finish(command(store, weights, tmp_path / "tuned"))
        again = finish(command(store, weights, tmp_path / "again", "tallrec-test", load=tuned))
    found = {
        name: json.loads((run / "metrics.json").read_text())
        for name, run in {"zero": zero, "still": still, "tuned": tuned, "again": again}.items()
    }
    assert found["zero"]["test"]["metrics"] == pytest.approx(found["still"]["test"]["metrics"], abs=1e-6)
    assert found["again"]["test"] == found["tuned"]["test"]
    losses = [float(row.split(",")[1]) for row in (tuned / "epochs.csv").read_text().splitlines()[1:]]
    assert losses[1] < losses[0]
    assert {path.name for path in (tuned / "adapter").iterdir()} >= {"adapter_model.safetensors"}
    saved = checkpoint.load(checkpoint.complete(tuned / "checkpoints")[-1]).tensors["weights"]
    assert saved and all(".lora_" in name for name in saved)


def test_the_same_seed_gives_the_same_run(store: Path, weights: Path, tmp_path: Path) -> None:
    """With LoRA's dropout."""
    with one_thread():
        runs = [finish(command(store, weights, tmp_path / each, epoch=1)) for each in ("one", "two")]
    assert differences(*runs) == []


def test_a_model_from_scratch_says_nothing_before_it_is_trained(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(store, tmp_path, exp__mode="test")
    refused(argv, capsys, "a model from `scratch` has learned nothing yet: name a trained run")


def test_a_tower_still_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    argv = command(store, tmp_path, tmp_path, "tallrec-test")
    argv[argv.index("--model") + 1] = f"{ROOT}/config/model/lego_naml.yaml"
    for name in ("--lm_path", "--lora_r", "--model.prompt.segments"):
        del argv[argv.index(name) : argv.index(name) + 2]
    refused(argv, capsys, "exp.load: is needed where exp.mode is 'test'")


def test_a_prompt_may_be_a_turn_of_a_chat(
    store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the template writes around the turn has spans of its own; a control token in it is one token."""
    folder = tmp_path / "chat"
    copytree(weights, folder)
    argv = command(store, folder, tmp_path / "runs", "prompt", **{"model.prompt.chat": "true"})
    refused(argv, capsys, "`prompt.chat` (--chat): the tokenizer of", "has no chat template; leave it out")
    template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}{{ '<s>model:' }}"
    fast(Tokenizer.from_file(str(folder / "tokenizer.json")), template).save_pretrained(folder)
    copy(weights / "tokenizer.json", folder)  # that of the store, to the byte
    assert worker.main(argv) == 0
    rows = [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines()[2:8]]
    assert [row[0] for row in rows] == ["chat_user", "liked", "target", "cue", "chat_model", "answer"]
    text = "".join(json.loads(row[4][row[4].index('"') :]) for row in rows)
    assert text.startswith("<s>user: ") and " :</s><s>model:" in text
    assert int(rows[4][2]) == 2 + len(byte_level().encode("model:", add_special_tokens=False).ids)


def test_a_tokenizer_that_the_store_lacks_is_told(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "store"
    marked_store(bare)
    refused(command(bare, weights, tmp_path / "runs"), capsys, "tokeniz")


@pytest.mark.slow
@pytest.mark.timeout(600)  # three launches of two processes, each of which imports torch and transformers
def test_sharded_runs_are_those_of_one_process_and_resume_bit_for_bit(
    store: Path, weights: Path, tmp_path: Path
) -> None:
    """Stopped in one of two processes in the middle of the second epoch; all end with a status."""
    with one_thread():
        one = finish(command(store, weights, tmp_path / "one"))
    argv = command(store, weights, tmp_path / "two", shard="true", save_every=3)
    status, out = shared(2, argv)
    assert status == 0, out
    two = only_run(tmp_path / "two")
    tensors = [checkpoint.load(checkpoint.complete(run / "checkpoints")[-1]).tensors for run in (one, two)]
    mine, theirs = (each["weights"] for each in tensors)
    assert mine.keys() == theirs.keys() and all("lora" in name for name in mine)
    for name, value in mine.items():
        assert (value - theirs[name]).abs().max() <= 1e-4, name
    cut = command(store, weights, tmp_path / "cut", shard="true", save_every=3)
    process = prepared(tmp_path, STOP, 2, cut)
    out, _ = process.communicate(timeout=100)
    assert (
        process.returncode != 0 and out.count("stopped; go on with the same command and --resume true") == 1
    )
    status, out = shared(2, [*cut, "--resume", "true"])
    assert status == 0 and out.count("resumed at batch") == 1, out
    assert differences(two, only_run(tmp_path / "cut")) == []
