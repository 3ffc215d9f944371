"""LoRA changes nothing at first, and tunes the upper layers alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from legorec.lm import lora
from legorec.lm.cut import UpperLayers
from legorec.lm.lora import LoRA, inject
from legorec.nn.dropout import Dropout
from legorec.registry.modules import parse_source
from legorec.registry.signatures import parameters_of
from tests.lm.adapters import DEPTH, LENGTHS, TYPES, states, upper
from tests.lm.types import EVERY
from tests.support.tiny import difference


@pytest.mark.parametrize("model_type", EVERY)
def test_at_first_nothing_changes(checkpoint, model_type):
    pretrained = checkpoint(model_type)
    given = states(pretrained)
    plain = UpperLayers(pretrained, DEPTH).eval()(given, LENGTHS)
    assert torch.equal(upper(pretrained, trained=False)(given, LENGTHS), plain)


@pytest.mark.parametrize("model_type", TYPES)
def test_gradients_reach_the_adapters_alone(checkpoint, model_type):
    pretrained = checkpoint(model_type)
    model = upper(pretrained).train()
    given = states(pretrained).requires_grad_()
    model(given, LENGTHS).square().sum().backward()
    for name, value in model.named_parameters():
        if ".lora_" in name:
            assert value.grad is not None and value.grad.any(), name
        else:
            assert value.grad is None and not value.requires_grad, name
    assert given.grad.any()
    numbers = {
        int(part) for name, _ in model.named_parameters() for part in name.split(".") if part.isdigit()
    }
    assert numbers == {1, 2}


def test_a_step_leaves_the_frozen_weights_equal(checkpoint):
    pretrained = checkpoint("bert")
    model = upper(pretrained).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model(states(pretrained), LENGTHS).square().sum().backward()
    optimizer.step()
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == (".lora_" not in name), name


def test_gradient_checkpointing_gives_the_same_gradients(checkpoint):
    pretrained = checkpoint("llama")
    model, given = upper(pretrained, LoRA(r=4, dropout=0.0)).train(), states(pretrained)
    model(given, LENGTHS).square().sum().backward()
    torch.manual_seed(3)
    again = UpperLayers(pretrained, DEPTH, gradient_checkpointing=True).train()
    inject(again, pretrained, LoRA(r=4, dropout=0.0))
    again.load_state_dict(model.state_dict())
    again(given, LENGTHS).square().sum().backward()
    expected = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    found = {name: value.grad for name, value in again.named_parameters() if value.requires_grad}
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_peft_has_nothing_to_correct(checkpoint):
    """GPT-2 stores its layers the other way round, which peft would notice with a warning."""
    for model_type in ("gpt2", "llama"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            upper(checkpoint(model_type))


def test_weights_follow_the_seed_and_not_the_precision(checkpoint):
    pretrained = checkpoint("llama")

    def drawn(seed, dtype="fp32"):
        named = upper(pretrained, seed=seed, trained=False, dtype=dtype).named_parameters()
        return torch.cat([value.flatten() for name, value in named if ".lora_A." in name])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert drawn(1, "bf16").dtype == torch.float32
    assert torch.equal(drawn(1), drawn(1, "bf16"))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("model_type", TYPES)
def test_adapters_stay_float32(checkpoint, model_type, dtype, autocast):
    pretrained = checkpoint(model_type)
    model = upper(pretrained, dtype=dtype).train()
    assert {value.dtype for value in model.parameters() if value.requires_grad} == {torch.float32}
    given = states(pretrained).to(
        next(value.dtype for value in model.parameters() if not value.requires_grad)
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(given, LENGTHS)
    assert dtype == "fp32" or out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    for value in model.parameters():
        assert not value.requires_grad or (value.grad.dtype == torch.float32 and value.grad.isfinite().all())
    exact = upper(pretrained).eval()(states(pretrained), LENGTHS)
    assert difference(model.eval()(given, LENGTHS).float(), exact.detach()) < 0.05


def test_dropout_is_ours_and_follows_the_mode(checkpoint):
    pretrained = checkpoint("llama")
    model, given = upper(pretrained), states(pretrained)
    found = [module for module in model.modules() if isinstance(module, Dropout)]
    assert len(found) == 4 and {module.rate for module in found} == {0.1}
    assert not any(module.training for module in found)  # the layers were in evaluation mode
    assert torch.equal(model(given, LENGTHS), model(given, LENGTHS))
    model.train()
    assert not torch.equal(model(given, LENGTHS), model(given, LENGTHS))
    without = upper(pretrained, LoRA(r=4, alpha=6.0, dropout=0.0))
    assert not any(isinstance(module, Dropout) for module in without.modules())
    assert without.state_dict().keys() == model.state_dict().keys()


def test_chosen_targets(checkpoint):
    pretrained = checkpoint("llama")
    chosen = LoRA(r=2, alpha=2.5, targets=["self_attn.o_proj", "down_proj", "down_proj"])
    model = upper(pretrained, chosen)
    names = {
        name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if ".lora_" in name
    }
    assert names == {"o_proj", "down_proj"}


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"r": 0}, "`lora.r` must be at least 1, got 0"),
        ({"alpha": 0.0}, "`lora.alpha` must be above 0, got 0.0"),
        ({"alpha": float("inf")}, "`lora.alpha` must be above 0, got inf"),
        ({"dropout": 1.0}, "`lora.dropout` must be at least 0 and below 1, got 1.0"),
        ({"targets": []}, "`lora.targets` must name at least one layer"),
        ({"enabled": False, "adapter": "runs/a"}, "`lora.adapter` runs/a is not read where `lora.enabled`"),
    ],
)
def test_values_out_of_range_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        LoRA(**values)


@pytest.mark.parametrize(
    ("model_type", "target", "there"),
    [("llama", "query", "mlp.down_proj, "), ("gpt2", "q_proj", "attn.c_attn, "), ("llama", "proj", "o_proj")],
)
def test_a_target_that_no_layer_has(checkpoint, model_type, target, there):
    with pytest.raises(ValueError, match=f"no layer of .* has '{target}'; its linear layers are .*{there}"):
        upper(checkpoint(model_type), LoRA(targets=[target]))


def test_no_layer_left(checkpoint):
    with pytest.raises(ValueError, match="all 3 of .* lie below `layer` 3; .*`lora.enabled: false`"):
        upper(checkpoint("llama"), depth=3)


def test_the_block_of_a_config_is_readable():
    source = parse_source("legorec.lm.lora", Path(lora.__file__))
    found = parameters_of(source.classes["LoRA"], source, lambda name: None)
    assert [each.name for each in found] == ["enabled", "r", "alpha", "dropout", "targets", "adapter"]
    assert all(each.type is not None for each in found)
