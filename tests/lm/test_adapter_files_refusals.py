"""A saved adapter that does not fit in every respect is refused (R17)."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from legorec.lm import adapter_files
from legorec.lm.adapter_files import WEIGHTS, AdapterError
from legorec.lm.lora import LoRA, load_adapter, save_adapter
from legorec.lm.pretrained import Pretrained
from tests.lm.adapters import CHOSEN, DEPTH, upper


@pytest.fixture
def saved(checkpoint, tmp_path):
    """A trained adapter of LLaMA to do things to."""
    pretrained = checkpoint("llama")
    save_adapter(upper(pretrained), pretrained, tmp_path / "adapter", CHOSEN)
    return tmp_path / "adapter"


def edit(folder, **facts):
    file = folder / adapter_files.CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def edit_weights(folder, change):
    weights = load_file(folder / adapter_files.WEIGHTS)
    change(weights)
    save_file(weights, folder / adapter_files.WEIGHTS)


def refused(checkpoint, folder, match, chosen=CHOSEN, model_type="llama", depth=DEPTH):
    """Loading raises, and has changed nothing."""
    pretrained = checkpoint(model_type)
    model = upper(pretrained, chosen, depth=depth)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=match):
        load_adapter(model, pretrained, folder)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# What is refused on loading


def test_no_adapter(checkpoint, saved, tmp_path):
    refused(checkpoint, tmp_path / "none", "is no saved adapter: it has no adapter_config.json")
    (saved / adapter_files.WEIGHTS).rename(saved / "adapter_model.bin")
    refused(checkpoint, saved, "no adapter_model.safetensors: adapter_model.bin is pickled and is not read")
    (saved / "adapter_model.bin").unlink()
    refused(checkpoint, saved, "has no adapter_model.safetensors$")


def test_a_damaged_adapter(checkpoint, saved):
    data = (saved / adapter_files.WEIGHTS).read_bytes()
    (saved / adapter_files.WEIGHTS).write_bytes(data[:-10])
    refused(checkpoint, saved, "adapter_model.safetensors cannot be read")
    (saved / adapter_files.CONFIG).write_text("{")
    refused(checkpoint, saved, "adapter_config.json is no JSON")
    (saved / adapter_files.CONFIG).write_text("[]")
    refused(checkpoint, saved, "`peft_type` must be LORA")


def test_r17_an_empty_adapter(checkpoint, saved):
    edit_weights(saved, dict.clear)
    refused(checkpoint, saved, "holds no weights: the adapter was lost when it was saved")


def test_r17_an_untrained_adapter(checkpoint, tmp_path):
    pretrained = checkpoint("llama")
    save_adapter(upper(pretrained, trained=False), pretrained, tmp_path / "adapter", CHOSEN)
    refused(checkpoint, tmp_path / "adapter", "was never trained: every lora_B is zero")


KEY = "base_model.model.layers.1.self_attn.q_proj.lora_B.weight"


@pytest.mark.parametrize("layout", [".", "with-head"])
def test_r17_a_missing_and_an_unexpected_weight(checkpoint, saved, layout):
    def rename(weights):
        key = KEY if layout == "." else KEY.replace("model.layers", "model.model.layers")
        weights[key.replace("lora_B", "lora_C")] = weights.pop(key)

    edit_weights(saved / layout, rename)
    refused(
        checkpoint,
        saved / layout,
        "missing 'layers.1.self_attn.q_proj.lora_B.weight', not expected "
        "'layers.1.self_attn.q_proj.lora_C.weight'",
    )


def test_values_that_are_not_finite(checkpoint, saved):
    edit_weights(saved, lambda weights: weights[KEY][0].fill_(float("nan")))
    refused(checkpoint, saved, "'layers.1.self_attn.q_proj.lora_B.weight' holds values that are not finite")


def test_another_shape(checkpoint, saved):
    edit_weights(saved, lambda weights: weights.update({KEY: weights[KEY][1:].clone()}))
    refused(checkpoint, saved, r"q_proj.lora_B.weight' is \(31, 4\) torch.float32, this model's is \(32, 4\)")


def test_whole_numbers(checkpoint, saved):
    edit_weights(saved, lambda weights: weights.update({KEY: weights[KEY].int()}))
    refused(checkpoint, saved, r"q_proj.lora_B.weight' is \(32, 4\) torch.int32")


@pytest.mark.parametrize(
    ("chosen", "match"),
    [
        (LoRA(r=8, alpha=6.0), "has `r` 4, `lora.r` is 8; set it so"),
        (LoRA(r=4, alpha=8.0), "has `lora_alpha` 6, `lora.alpha` is 8; set it so"),
        (LoRA(r=4, alpha=6.0, targets=["q_proj", "o_proj"]),
         "tunes q_proj, v_proj of layers 1, 2, this model is set to tune o_proj, q_proj of layers 1, 2: "
         "missing 'layers.1.self_attn.o_proj.lora_A.weight' and 3 more, not expected "
         "'layers.1.self_attn.v_proj.lora_A.weight' and 3 more"),
        (LoRA(r=4, alpha=6.0, targets=["q_proj"]), "missing none, not expected 'layers.1.self_attn.v_proj"),
    ],
)  # fmt: skip
def test_other_settings(checkpoint, saved, chosen, match):
    refused(checkpoint, saved, match, chosen)


@pytest.mark.parametrize("depth", [0, 2])
def test_other_layers(checkpoint, saved, depth):
    refused(checkpoint, saved, "tunes q_proj, v_proj of layers 1, 2, this model is set", depth=depth)


def test_another_type_of_model(checkpoint, saved):
    for layout in (".", "with-head"):
        refused(
            checkpoint,
            saved / layout,
            "another type of model: transformers.models.llama.modeling_llama, not .*qwen3",
            model_type="qwen3",
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_dora", True), ("use_rslora", True), ("bias", "all"), ("rank_pattern", {"q_proj": 8}),
     ("modules_to_save", ["score"]), ("init_lora_weights", "pissa")],
)  # fmt: skip
def test_variants_are_refused(checkpoint, saved, key, value):
    edit(saved, **{key: value})
    refused(checkpoint, saved, f"has `{key}` .*, which is not supported")


def test_r17_other_weights_of_the_same_shape(checkpoint, saved, tmp_path):
    """One value of a layer that the adapter does not touch is another base."""
    there = checkpoint("llama")
    shutil.copytree(there.folder, tmp_path / "other")
    file = tmp_path / "other" / "model.safetensors"
    weights = load_file(file)
    weights[min(weights)].view(-1)[0] += 1
    save_file(weights, file, {"format": "pt"})
    other = Pretrained(tmp_path / "other")
    model = upper(other, trained=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    match = (
        f"on other base weights .digest {there.digest()}. than those of .*other .{other.digest()}.; name the"
    )
    for folder in (saved, saved / "with-head"):
        with pytest.raises(AdapterError, match=match):
            load_adapter(model, other, folder)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    load_adapter(upper(there, seed=5), there, saved)


def test_an_adapter_of_another_program_is_taken_and_said(checkpoint, saved):
    pretrained, file = checkpoint("llama"), saved / WEIGHTS
    save_file(load_file(file), file, {"format": "pt"})
    with pytest.warns(UserWarning, match="does not say which weights it was trained on, as none .*made for"):
        load_adapter(upper(pretrained), pretrained, saved)
