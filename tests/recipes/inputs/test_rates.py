"""A suggested rate of pretrained weights is for models that have some; one that is named must have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from legorec.engine.optim import make_optimizer
from legorec.recipes.inputs.rates import item_rate
from legorec.settings import Settings, read_command_line
from tests.support.runs import ROOT, arguments, finish


def settings_of(tmp_path: Path, *flags: str) -> Settings:
    file = tmp_path / "m.yaml"
    file.write_text(f"$$import: {ROOT}/config/model/lego_naml.yaml\nsuggested: {{lr: 4e-3, item_lr: 4e-4}}\n")
    layers = {"data": "data/synthetic", "exp": "exp/train"}
    named = [part for key, name in layers.items() for part in (f"--{key}", f"{ROOT}/config/{name}.yaml")]
    return read_command_line([*named, "--model", str(file), *flags])


def model_of(pretrained: bool, frozen: bool = False) -> nn.Module:
    given = nn.Linear(2, 2).requires_grad_(not frozen)
    given.pretrained = pretrained
    return nn.Sequential(given, nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("flags", "pretrained", "frozen", "rate"),
    [
        ([], True, False, 4e-4),
        ([], True, True, None),
        ([], False, False, None),
        (["--item_lr", "1e-5"], True, False, 1e-5),
        (["--lr", "1e-3"], True, False, None),
    ],
)
def test_a_suggestion_needs_something_to_act_on(tmp_path, flags, pretrained, frozen, rate):
    model = model_of(pretrained, frozen)
    found = item_rate(settings_of(tmp_path, *flags), model)
    assert found == rate
    assert make_optimizer(model, lr=1e-2, item_lr=found).param_groups


def test_a_rate_that_is_named_is_refused_where_it_does_nothing(tmp_path):
    model = model_of(True, frozen=True)
    rate = item_rate(settings_of(tmp_path, "--item_lr", "1e-5"), model)
    with pytest.raises(ValueError, match=r"`item_lr` \(1e-05\) has nothing to act on"):
        make_optimizer(model, lr=1e-2, item_lr=rate)


def test_a_run_trains_as_its_model_suggests_and_says_so(store, tmp_path, monkeypatch):
    """The rate falls to 0 over the steps of ``epoch``; a named rate stays."""
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self, *given):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    run = finish(arguments(store, tmp_path / "one"))
    count, lr = len(rates), read_command_line(arguments(store, tmp_path)).exp.policy.lr
    assert rates == pytest.approx([lr * (1 - number / count) for number in range(count)])
    said = f"lr {lr:g}, linear to 0 over {count} steps, as the model suggests"
    assert said in (run / "run.log").read_text()
    rates.clear()
    run = finish(arguments(store, tmp_path / "two", lr=2e-3))
    assert set(rates) == {2e-3}
    assert f"lr 0.002, constant over {count} steps\n" in (run / "run.log").read_text()
