"""A checkpoint on disk: what is read of it, and what is refused (R11)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from legorec.data import digest
from legorec.lm import checkpoint_files
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.pretrained import Pretrained, PretrainedError
from tests.lm.tiny import whole


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A LLaMA to do things to."""
    shutil.copytree(checkpoint("llama").folder, tmp_path / "llama")
    return tmp_path / "llama"


@pytest.fixture
def sharded(checkpoint, tmp_path):
    shutil.copytree(checkpoint("llama", sharded=True).folder, tmp_path / "sharded")
    return tmp_path / "sharded"


def edit(folder, **facts):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


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


def test_r11_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        PretrainedError, match="no model.safetensors: pytorch_model.bin is pickled and is not read"
    ):
        UpperLayers(Pretrained(folder), 1)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(PretrainedError, match="no model.safetensors: weights are read only from safetensors"):
        Pretrained(folder).digest()


def test_r12_an_index_that_leads_astray(sharded):
    index = sharded / checkpoint_files.INDEX
    facts = json.loads(index.read_text())
    Pretrained(sharded).weight_files[1].unlink()
    with pytest.raises(PretrainedError, match=r"is incomplete: model-00002-of-.* is missing; fetch it again"):
        UpperLayers(Pretrained(sharded), 1)
    for outside in ("../llama/model.safetensors", "/model.safetensors"):
        index.write_text(json.dumps({"weight_map": {"norm.weight": outside}}))
        with pytest.raises(PretrainedError, match=f"leads out of its folder: '{outside}'"):
            Pretrained(sharded).digest()
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"norm.weight": 3}}):
        index.write_text(json.dumps({**facts, "weight_map": None} | wrong))
        with pytest.raises(PretrainedError, match="does not say where the weights are"):
            Pretrained(sharded).digest()


def test_no_config(tmp_path):
    with pytest.raises(
        PretrainedError, match="is not a checkpoint of a language model: it has no config.json"
    ):
        Pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{'model_type'")
    with pytest.raises(PretrainedError, match="config.json is not JSON: "):
        Pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(PretrainedError, match="config.json must hold a JSON object, it holds a list"):
        Pretrained(tmp_path)


@pytest.mark.parametrize("model_type", ["gemma", "gemma2", "gemma3_text", "mamba", "no_such", None])
def test_families_whose_cut_is_not_known(folder, model_type):
    edit(folder, model_type=model_type)
    with pytest.raises(ValueError, match=f"is a model of type '{model_type}'; known are bert, .*families.py"):
        Pretrained(folder)


def test_quantised(folder):
    edit(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(PretrainedError, match="is quantised, which is not supported"):
        Pretrained(folder)


def test_an_attention_that_is_not_there(checkpoint):
    with pytest.raises(ValueError, match="cannot use `attention: flash_attention_2`: .+"):
        UpperLayers(checkpoint("llama"), 1, attention="flash_attention_2")


@pytest.mark.parametrize("model_type", ["llama", "custom"])
def test_r11_code_of_a_checkpoint_is_not_run(folder, model_type):
    """A known type is built by transformers' own code, another refused."""
    for name in ("configuration", "modeling"):
        (folder / f"{name}_custom.py").write_text("import sys\nsys.legorec_ran = True\nraise SystemExit(3)\n")
    mapping = {"AutoConfig": "configuration_custom.Config", "AutoModel": "modeling_custom.Model"}
    edit(folder, model_type=model_type, auto_map=mapping)
    if model_type == "llama":
        module = type(UpperLayers(Pretrained(folder), 1).model).__module__
        assert module == "transformers.models.llama.modeling_llama"
    else:
        with pytest.raises(ValueError, match="is a model of type 'custom'"):
            Pretrained(folder)
    assert not hasattr(sys, "legorec_ran")
