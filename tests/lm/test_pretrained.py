"""A checkpoint on disk: what is read of it, and what is refused (R11)."""

from __future__ import annotations

import os
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from legorec.files import digest
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.pretrained import Pretrained, PretrainedError
from tests.support.tiny import whole


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


# What is in it


def test_its_facts(checkpoint):
    model = checkpoint("llama")
    assert (model.num_layers, model.width, model.output_width, model.vocab_size) == (3, 32, 32, 97)
    assert (model.token_width, model.max_length, checkpoint("roberta").max_length) == (32, 64, 62)
    assert repr(model) == f"Pretrained('{model.folder}': llama, 3 x 32)"


def test_depths_count_from_either_end(checkpoint):
    model = checkpoint("llama")
    assert [model.depth(layer) for layer in (0, 1, 3, -1, -2, -3)] == [0, 1, 3, 2, 1, 0]
    for layer in (4, -4):
        with pytest.raises(
            ValueError, match=rf"`depth` must be between -3 and 3, the layers of .*, got {layer}"
        ):
            model.depth(layer)


@pytest.mark.parametrize("model_type", ["llama", "bert", "gpt2", "opt", "distilbert", "gpt_neox", "electra"])
def test_the_token_table(checkpoint, model_type):
    model = checkpoint(model_type)
    expected = whole(model).get_input_embeddings().weight
    assert torch.equal(model.token_table(), expected)
    assert torch.equal(model.token_rows([5, 0, 96]), expected[[5, 0, 96]])
    assert model.token_table().shape[1] == model.token_width


def test_experts_that_are_stored_one_by_one(checkpoint):
    """More than ten, so that their order is that of their numbers and not of their names."""
    pretrained = checkpoint("qwen3_moe", num_experts=12, num_local_experts=12)
    stored = load_file(pretrained.weight_files[0])
    assert (
        "layers.0.mlp.experts.11.gate_proj.weight" in stored
        and "layers.0.mlp.experts.gate_up_proj" not in stored
    )
    upper = dict(UpperLayers(pretrained, 0).model.named_parameters())
    for number in range(12):
        parts = [stored[f"layers.0.mlp.experts.{number}.{each}_proj.weight"] for each in ("gate", "up")]
        assert torch.equal(upper["layers.0.mlp.experts.gate_up_proj"][number], torch.cat(parts))
        down = stored[f"layers.0.mlp.experts.{number}.down_proj.weight"]
        assert torch.equal(upper["layers.0.mlp.experts.down_proj"][number], down)


def test_weights_are_our_own(folder):
    """Changing them in place leaves the file as it is."""
    before = (folder / "model.safetensors").read_bytes()
    upper = UpperLayers(Pretrained(folder), 0)
    with torch.no_grad():
        for value in upper.parameters():
            value.zero_()
    assert (folder / "model.safetensors").read_bytes() == before
    assert all(value.any() for value in UpperLayers(Pretrained(folder), 0).parameters())


def test_on_meta_nothing_is_read(folder):
    (folder / "model.safetensors").unlink()
    with torch.device("meta"):
        upper, lower = UpperLayers(Pretrained(folder), 1), LowerLayers(Pretrained(folder), [1])
    parameters = [*upper.parameters(), *lower.parameters()]
    assert parameters and {value.device.type for value in parameters} == {"meta"}


def test_building_draws_nothing(checkpoint):
    state = torch.get_rng_state()
    UpperLayers(checkpoint("llama"), 1)
    assert torch.equal(torch.get_rng_state(), state)


# Its digest


def settle(folder):
    """As long after the last change as digests are remembered."""
    past = time.time() - 10
    for file in folder.iterdir():
        os.utime(file, (past, past))


def test_the_digest_changes_with_any_byte(sharded):
    first = Pretrained(sharded).digest()
    assert Pretrained(sharded).digest() == first and len(first) == 32
    seen = {first}
    for file in (sharded / "config.json", *Pretrained(sharded).weight_files):
        data = file.read_bytes()
        place = len(data) - 1
        changed = b"\n" if file.suffix == ".json" else bytes([data[place] ^ 1])
        file.write_bytes(data[:place] + changed + (data[place:] if file.suffix == ".json" else b""))
        seen.add(Pretrained(sharded).digest())
        file.write_bytes(data)
    assert len(seen) == 2 + len(Pretrained(sharded).weight_files)
    assert Pretrained(sharded).digest() == first


def test_the_digest_is_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "SETTLED_NS", 0)
    first, read = Pretrained(folder).digest(), []
    monkeypatch.setattr(digest, "digest_file", lambda path: read.append(path) or "0")
    assert Pretrained(folder).digest() == first and not read
    settle(folder)
    Pretrained(folder).digest()
    assert {path.name for path in read} == {"config.json", "model.safetensors"}


# What is refused


def test_a_missing_weight(folder):
    edit_weights(folder, lambda weights: weights.pop("layers.2.mlp.up_proj.weight"))
    with pytest.raises(
        PretrainedError, match="does not hold 'layers.2.mlp.up_proj.weight'; the checkpoint is incomplete"
    ):
        UpperLayers(Pretrained(folder), 1)
    LowerLayers(Pretrained(folder), [2])
    edit_weights(folder, lambda weights: weights.pop("embed_tokens.weight"))
    with pytest.raises(PretrainedError, match="does not hold 'embed_tokens.weight'"):
        Pretrained(folder).token_table()


def test_a_weight_of_another_shape(folder):
    edit_weights(folder, lambda weights: weights.update({"norm.weight": torch.ones(31)}))
    with pytest.raises(PretrainedError, match=r"'norm.weight' is \(31,\), its config requires \(32,\)"):
        UpperLayers(Pretrained(folder), 1)


def test_damaged_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    for wrong in (data[:-5], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        (folder / "model.safetensors").write_bytes(wrong)
        with pytest.raises(PretrainedError, match="model.safetensors cannot be read"):
            UpperLayers(Pretrained(folder), 1)


def test_an_attention_that_is_not_there(checkpoint):
    with pytest.raises(ValueError, match="cannot use `attention: flash_attention_2`: .+"):
        UpperLayers(checkpoint("llama"), 1, attention="flash_attention_2")
