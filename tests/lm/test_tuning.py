"""The layers that are tuned: LoRA on them, themselves, or nothing; a projection where widths differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from legorec.batch import TokenStates
from legorec.engine.optim import load_state_tensors, make_optimizer, state_tensors, trainable
from legorec.lm.cut import UpperLayers
from legorec.lm.lora import LoRA
from legorec.lm.tuning import TunedLayers
from tests.lm.adapters import DEPTH, LENGTHS, states

OFF, ON = LoRA(enabled=False), LoRA(r=2, dropout=0.0)


def given(values: Tensor) -> TokenStates:
    """The tokens of each item as those of two fields, which make one sequence."""
    first = LENGTHS // 2
    return TokenStates(values, torch.stack([first, LENGTHS - first], 1))


@pytest.mark.parametrize(
    ("lora", "frozen", "learns"),
    [
        (ON, False, lambda name: ".lora_" in name),
        (OFF, False, lambda name: True),
        (OFF, True, lambda name: False),
    ],
    ids=["adapters", "all", "nothing"],
)
def test_what_learns(checkpoint, lora, frozen, learns):
    model = TunedLayers(checkpoint("llama"), DEPTH, 32, lora, frozen)
    names = {name: each.requires_grad for name, each in model.named_parameters()}
    assert names == {name: learns(name) for name in names}
    assert any(".lora_" in name for name in names) is lora.enabled


@pytest.mark.parametrize(("lora", "frozen"), [(ON, False), (OFF, False), (OFF, True)])
def test_before_the_first_step_they_are_the_layers_of_the_checkpoint(checkpoint, lora, frozen):
    values = states(checkpoint("bert"))
    model = TunedLayers(checkpoint("bert"), DEPTH, 32, lora, frozen).eval()
    expected = UpperLayers(checkpoint("bert"), DEPTH).eval()(values, LENGTHS)
    torch.testing.assert_close(model(given(values)), expected)
    assert model.output_dim == expected.shape[1]


def test_frozen_layers_keep_their_dropout_off_and_pass_gradients_on(checkpoint):
    model = TunedLayers(checkpoint("bert"), DEPTH, 32, OFF, frozen=True).train()
    assert model.training and not any(part.training for part in model.upper.modules())
    assert not model(
        given(states(checkpoint("bert")))
    ).requires_grad  # nothing below learns: no graph is kept
    values = states(checkpoint("bert")).requires_grad_()
    model(given(values)).square().sum().backward()
    assert values.grad is not None and values.grad.any()


@pytest.mark.parametrize("frozen", [True, False])
def test_states_of_another_width_are_projected_by_what_is_learned(checkpoint, frozen):
    model = TunedLayers(checkpoint("llama"), DEPTH, 5, OFF, frozen)
    values = torch.randn(int(LENGTHS.sum()), 5)
    torch.testing.assert_close(model.eval()(given(values)), model.upper(model.project(values), LENGTHS))
    model(given(values)).square().sum().backward()
    assert model.project.weight.grad is not None and model.project.weight.grad.any()
    assert TunedLayers(checkpoint("llama"), DEPTH, 32, OFF).project is None


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_states_come_out_in_float32(checkpoint, dtype):
    model = TunedLayers(checkpoint("llama"), DEPTH, 32, OFF, True, dtype)
    assert model(given(states(checkpoint("llama")).bfloat16())).dtype == torch.float32


def test_adapters_are_saved_where_there_are_any(checkpoint, tmp_path):
    for name, lora in (("on", ON), ("off", OFF)):
        TunedLayers(checkpoint("llama"), DEPTH, 32, lora).save_adapter(tmp_path / name)
    assert (tmp_path / "on" / "adapter_config.json").is_file() and not (tmp_path / "off").exists()


def test_frozen_and_lora_exclude_each_other(checkpoint):
    with pytest.raises(ValueError, match="`frozen` leaves nothing for LoRA to tune; give `--lora 0` with it"):
        TunedLayers(checkpoint("llama"), DEPTH, 32, ON, frozen=True)


def tuned(pretrained, dtype, lora=OFF, steps=20, lr=2e-5):
    """The layers after some steps of Adam, as small as they are for a language model, and their changes."""
    torch.manual_seed(0)
    model = TunedLayers(pretrained, DEPTH, 32, lora, dtype=dtype).train()
    before = {name: value.detach().clone() for name, value in trainable(model).items()}
    optimizer, values = make_optimizer(model, lr=lr), states(pretrained)
    goal = torch.randn(len(values), model.output_dim)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(given(values)) - goal).square().mean().backward()
        optimizer.step()
    return model, optimizer, {name: value.detach() - before[name] for name, value in trainable(model).items()}


@pytest.mark.parametrize("lora", [OFF, pytest.param(ON, marks=pytest.mark.slow)], ids=["all", "adapters"])
@pytest.mark.parametrize("name", ["llama", pytest.param("bert", marks=pytest.mark.slow)])
def test_weights_tuned_in_half_precision_move_as_in_full(checkpoint, name, lora):
    """A step of 2e-5 is smaller than the distance of two bf16 numbers of the size of weights."""
    pretrained = checkpoint(name, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    half, full = (tuned(pretrained, dtype, lora)[2] for dtype in ("bf16", "fp32"))
    assert half.keys() == full.keys() and len(half) >= 4
    mine, wanted = (torch.cat([each.flatten().float() for each in moved.values()]) for moved in (half, full))
    moved = wanted != 0
    assert (mine[moved] != 0).float().mean() > 0.99
    assert torch.nn.functional.cosine_similarity(mine, wanted, dim=0) > 0.9
    assert mine.norm() / wanted.norm() == pytest.approx(1, abs=0.05)


def test_what_is_tuned_is_kept_in_float32_and_computed_in_half(checkpoint):
    pretrained, seen = checkpoint("llama"), []
    model = TunedLayers(pretrained, DEPTH, 32, OFF, dtype="bf16")
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
    out = model.eval()(given(states(pretrained)))
    assert set(seen) == {torch.bfloat16} and out.dtype == torch.float32
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    wanted = UpperLayers(pretrained, DEPTH).eval()(states(pretrained), LENGTHS)
    torch.testing.assert_close(out, wanted, rtol=0.1, atol=0.05)
    adapted = TunedLayers(pretrained, DEPTH, 32, ON, dtype="bf16")
    kept = {name: value.dtype for name, value in adapted.named_parameters()}
    assert all(
        dtype == (torch.float32 if ".lora_" in name else torch.bfloat16) for name, dtype in kept.items()
    )


def test_moments_of_a_run_from_before_become_float32(checkpoint):
    model, optimizer, _ = tuned(checkpoint("llama"), "bf16", steps=1)
    saved = {
        name: value.bfloat16() if value.dim() else value
        for name, value in state_tensors(optimizer, model).items()
    }
    load_state_tensors(optimizer, model, saved)
    model(given(states(checkpoint("llama")))).square().sum().backward()
    optimizer.step()
    assert {value.dtype for value in state_tensors(optimizer, model).values()} == {torch.float32}


@pytest.mark.parametrize(
    ("lora", "frozen", "width", "fits"),
    [(OFF, False, 32, False), (ON, False, 32, False), (OFF, True, 5, False), (OFF, True, 32, True)],
)
def test_fp16_is_refused_where_a_gradient_would_go_through(checkpoint, lora, frozen, width, fits):
    model = TunedLayers(checkpoint("llama"), DEPTH, width, lora, frozen, "fp16")
    refusal = (
        r"`dtype: fp16` \(--lm_dtype\) is for layers that nothing is learned in or before.*train in bf16"
    )
    if fits:
        model.check_training()
        with pytest.raises(ValueError, match=refusal):
            model(given(states(checkpoint("llama")).requires_grad_()))
    else:
        with pytest.raises(ValueError, match=refusal):
            model.check_training()
    TunedLayers(checkpoint("llama"), DEPTH, width, lora, frozen, "bf16").check_training()


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_kernel_that_draws_dropout_of_its_own_is_refused(checkpoint, rate):
    model = TunedLayers(checkpoint("llama", attention_dropout=rate), DEPTH, 32, OFF)
    model.attention = "flash_attention_2"  # it cannot be built without a device
    if not rate:
        model.check_training()
        return
    with pytest.raises(ValueError, match="`attention: flash_attention_2` draws the dropout of .*take `sdpa`"):
        model.check_training()
