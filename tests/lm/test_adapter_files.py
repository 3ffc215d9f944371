"""Adapters written and read: whole or not at all, and what plain peft makes of them (R17)."""

from __future__ import annotations

import json
import os

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from legorec.lm import adapter_files
from legorec.lm.cut import UpperLayers
from legorec.lm.lora import LoRA, inject, load_adapter, save_adapter
from tests.lm.adapters import CHOSEN, DEPTH, IDS, LENGTHS, TYPES, states, upper
from tests.lm.types import EVERY
from tests.support.tiny import difference, states_of, whole

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated"
)  # peft asks for it


@pytest.fixture
def saved(checkpoint, tmp_path):
    """A trained adapter of LLaMA to do things to."""
    pretrained = checkpoint("llama")
    save_adapter(upper(pretrained), pretrained, tmp_path / "adapter", CHOSEN)
    return tmp_path / "adapter"


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("head", [False, True], ids=["bare", "with head"])
def test_r17_plain_peft_reads_what_was_saved(checkpoint, tmp_path, model_type, head):
    pretrained = checkpoint(model_type, head=True)
    model = upper(pretrained)
    with torch.no_grad():
        found = model(states(pretrained), LENGTHS)
    save_adapter(model, pretrained, tmp_path / "adapter", CHOSEN)
    original = whole(pretrained, head)
    plain = original.base_model if head else original
    untuned = states_of(plain, IDS, LENGTHS)
    folder = tmp_path / "adapter" / "with-head" if head else tmp_path / "adapter"
    tuned = PeftModel.from_pretrained(original, folder).eval()
    assert difference(found, states_of(plain, IDS, LENGTHS)) < 1e-6  # peft has put its layers into the model
    assert difference(found, untuned) > 0.01
    if head:
        rows = [row for row in IDS.split(LENGTHS.tolist()) if len(row)]
        logits = torch.cat([tuned(input_ids=row[None]).logits[0] for row in rows])
        with torch.no_grad():
            expected = head_of(model_type, original)(found)
        assert difference(logits, expected) < 1e-6


def head_of(model_type, model):
    """What a model with a head does with the final states."""
    if model_type == "bert":
        return model.cls
    return model.lm_head


@pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed")
@pytest.mark.parametrize("model_type", [each for each in EVERY if each not in TYPES])
def test_r17_the_names_of_every_family_are_pefts(checkpoint, tmp_path, model_type):
    """What peft's own loader finds missing or unexpected, for both layouts."""
    pretrained = checkpoint(model_type, head=True)
    save_adapter(upper(pretrained), pretrained, tmp_path / "adapter", CHOSEN)
    for folder, head in ((tmp_path / "adapter", False), (tmp_path / "adapter" / "with-head", True)):
        wrapped = get_peft_model(whole(pretrained, head), LoraConfig.from_pretrained(folder))
        told = wrapped.load_adapter(folder, "again")
        assert told.unexpected_keys == []
        assert [name for name in told.missing_keys if "lora_" in name and ".again." in name] == []


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("layout", [".", "with-head"])
def test_r17_saved_and_loaded_it_is_the_same(checkpoint, tmp_path, model_type, layout):
    pretrained = checkpoint(model_type)
    model, other = upper(pretrained), upper(pretrained, seed=4)
    save_adapter(model, pretrained, tmp_path / "adapter", CHOSEN)
    given = states(pretrained)
    assert not torch.equal(model(given, LENGTHS), other(given, LENGTHS))
    load_adapter(other, pretrained, tmp_path / "adapter" / layout)
    assert torch.equal(model(given, LENGTHS), other(given, LENGTHS))


def test_r17_a_trained_adapter_is_not_empty(checkpoint, tmp_path):
    """A step changes lora_B; the file holds it and more than a header."""
    pretrained = checkpoint("llama")
    model = upper(pretrained, trained=False).train()
    tuned = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(tuned, lr=0.1)
    model(states(pretrained), LENGTHS).square().sum().backward()
    optimizer.step()
    save_adapter(model, pretrained, tmp_path / "adapter", CHOSEN)
    for folder in (tmp_path / "adapter", tmp_path / "adapter" / "with-head"):
        file = folder / adapter_files.WEIGHTS
        weights = load_file(file)
        assert len(weights) == 2 * 2 * 2  # layers, targets, sides
        assert all(value.any() for value in weights.values())
        assert file.stat().st_size > sum(value.nbytes for value in weights.values())
        assert oct(file.stat().st_mode) == oct((folder / adapter_files.CONFIG).stat().st_mode)


def test_layers_keep_their_true_numbers(checkpoint, tmp_path):
    pretrained = checkpoint("llama")
    save_adapter(upper(pretrained, depth=2), pretrained, tmp_path / "adapter", CHOSEN)
    bare = load_file(tmp_path / "adapter" / adapter_files.WEIGHTS)
    assert sorted(bare)[0] == "base_model.model.layers.2.self_attn.q_proj.lora_A.weight"
    with_head = load_file(tmp_path / "adapter" / "with-head" / adapter_files.WEIGHTS)
    assert sorted(with_head)[0] == "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"
    facts = json.loads((tmp_path / "adapter" / adapter_files.CONFIG).read_text())
    assert facts["layers_to_transform"] == [2]
    assert facts["lora_alpha"] == 6


def test_on_meta_nothing_is_read_or_drawn(checkpoint, saved):
    state = torch.get_rng_state()
    with torch.device("meta"):
        model = UpperLayers(checkpoint("llama"), DEPTH)
        inject(model, checkpoint("llama"), CHOSEN)
        load_adapter(model, checkpoint("llama"), saved)
    assert {value.device.type for value in model.parameters()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), state)


def test_chosen_targets_come_back(checkpoint, tmp_path):
    pretrained = checkpoint("llama")
    chosen = LoRA(r=2, alpha=2.5, targets=["self_attn.o_proj", "down_proj", "down_proj"])
    model = upper(pretrained, chosen)
    save_adapter(model, pretrained, tmp_path / "adapter", chosen)
    facts = json.loads((tmp_path / "adapter" / adapter_files.CONFIG).read_text())
    assert facts["target_modules"] == ["down_proj", "self_attn.o_proj"] and facts["lora_alpha"] == 2.5
    other = upper(pretrained, chosen, seed=4)
    load_adapter(other, pretrained, tmp_path / "adapter")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


@pytest.mark.filterwarnings("ignore:the adapter .* does not say which weights")
@pytest.mark.parametrize("head", [False, True])
def test_an_adapter_that_peft_wrote_is_read(checkpoint, tmp_path, head):
    pretrained = checkpoint("llama", head=True)
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "v_proj"],
        layers_to_transform=[1, 2],
        task_type="CAUSAL_LM" if head else None,
        layers_pattern=None if head else "layers",
        init_lora_weights=False,
    )
    tuned = get_peft_model(whole(pretrained, head), config).eval()
    tuned.save_pretrained(tmp_path / "adapter")
    model = upper(pretrained)
    load_adapter(model, pretrained, tmp_path / "adapter")
    base = tuned.get_base_model()
    expected = states_of(base.base_model if head else base, IDS, LENGTHS)
    assert difference(model(states(pretrained), LENGTHS), expected) < 1e-6


# What is written


def test_equal_adapters_are_equal_files(checkpoint, saved, tmp_path):
    pretrained = checkpoint("llama")
    save_adapter(upper(pretrained), pretrained, tmp_path / "again", CHOSEN)
    for name in (adapter_files.CONFIG, adapter_files.WEIGHTS):
        for layout in (".", "with-head"):
            assert (saved / layout / name).read_bytes() == (tmp_path / "again" / layout / name).read_bytes()


@pytest.mark.parametrize("name", ["huggyllama/llama-7b", "weights/llama"])
def test_a_name_is_kept_and_a_path_is_not(checkpoint, tmp_path, monkeypatch, name):
    pretrained = checkpoint("llama")
    base = [pretrained.folder.name]
    save_adapter(upper(pretrained), pretrained, tmp_path / "a", CHOSEN)
    monkeypatch.setattr(pretrained, "name", name)
    save_adapter(upper(pretrained), pretrained, tmp_path / "b", CHOSEN)
    base.append(name)
    for folder, expected in zip((tmp_path / "a", tmp_path / "b"), base, strict=True):
        for layout in (".", "with-head"):
            text = (folder / layout / adapter_files.CONFIG).read_text()
            assert json.loads(text)["base_model_name_or_path"] == expected
            assert str(tmp_path.parents[1]) not in text


@pytest.mark.parametrize("point", ["save_sealed", "save_json", "flush"])
def test_written_whole_or_not_at_all(checkpoint, saved, tmp_path, monkeypatch, point):
    pretrained = checkpoint("llama")
    before = {file: file.read_bytes() for file in saved.rglob("*.*")}
    model = upper(pretrained, seed=9)
    real, calls = getattr(adapter_files, point), []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError("no space left")
        return real(*args, **kwargs)

    monkeypatch.setattr(adapter_files, point, fail)
    for folder in (saved, tmp_path / "new"):
        calls.clear()
        with pytest.raises(OSError, match="no space left"):
            save_adapter(model, pretrained, folder, CHOSEN)
    assert before and {file: file.read_bytes() for file in saved.rglob("*.*")} == before
    assert [each.name for each in tmp_path.iterdir()] == ["adapter"]


def test_a_failed_rename_leaves_the_earlier_adapter(checkpoint, saved, tmp_path, monkeypatch):
    pretrained = checkpoint("llama")
    before = {file: file.read_bytes() for file in saved.rglob("*.*")}
    real = os.replace

    def fail(source, target):
        if ".tmp-" in str(source):
            raise OSError("no rename")
        return real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no rename"):
        save_adapter(upper(pretrained, seed=9), pretrained, saved, CHOSEN)
    assert {file: file.read_bytes() for file in saved.rglob("*.*")} == before
    assert [each.name for each in tmp_path.iterdir()] == ["adapter"]


def test_an_earlier_adapter_is_replaced_and_nothing_else(checkpoint, saved, tmp_path):
    pretrained = checkpoint("llama")
    model = upper(pretrained, seed=9)
    save_adapter(model, pretrained, saved, CHOSEN)
    other = upper(pretrained, seed=4)
    load_adapter(other, pretrained, saved)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
    assert [each.name for each in tmp_path.iterdir()] == ["adapter"]
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds more than an adapter and is not replaced"):
        save_adapter(model, pretrained, saved, CHOSEN)
    assert (saved / "notes.txt").read_text() == "mine"
