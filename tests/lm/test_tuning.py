"""The layers that are tuned: LoRA on them, themselves, or nothing; a projection where widths differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from legorec.batch import TokenStates
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
