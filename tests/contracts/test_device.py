"""What runs on the CPU runs on a device: with the same numbers, without mixing the two, without waiting.

On a stand-in for a GPU, see ``tests/support/stand_in.py``. A new family is held by ``hold``, as towers are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import legorec.recommender
from legorec.batch import TokenStates
from legorec.engine.fit import FitOptions
from legorec.engine.task import Learning, Task
from legorec.nn.sending import sent
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.tower import click_task, needed_splits
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.recommender import Recommender
from legorec.scorers.clicks import ClickScorer
from legorec.scorers.top_items import top_items
from legorec.settings import Settings
from tests.support import bricks, small
from tests.support.named_runs import EVERY, NamedModels
from tests.support.on_devices import (
    CLOSE,
    CPU,
    STEPS,
    Made,
    Make,
    gradients,
    hold,
    set_dropout,
    trained,
    without_dropout,
)
from tests.support.stand_in import Mixture, StandIn, available

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no backends in Python")
SAMPLE = ("lego_naml",)


def small_task(change: Callable[[Recommender], None] = lambda model: None) -> Make:
    """A small NRMS; ``change`` plants something in it."""

    def make(device: torch.device) -> Made:
        model = small.recommender("nrms", dropout=0.5)
        model.source.catalog.to(device)
        change(model.to(device))
        learning = Learning(
            objective=SampledSoftmaxObjective(3),
            stream=small.stream(epoch_batch=STEPS),
            inputs={},
            dev_stream=small.stream,
            ahead=lambda batch: model.prefetch(batch.items),
        )
        return Made(Task(model, lambda: learning, lambda split: ClickScorer(model, small.impressions())))

    return make


def named_task(settings: Settings) -> Make:
    """A tower by its settings, which also recommends: one user, and a page of them."""

    def make(device: torch.device) -> Made:
        data = open_data(settings, needed_splits(settings))
        model = build_model(settings, data, device)

        def recommended() -> dict[str, np.ndarray]:
            loaded = TrainedRecommender(model.eval(), data)
            ids = list(data.store.items.ids)
            best = loaded.recommend([ids[1], ids[2]], 5)
            spans = np.arange(min(4, len(data.histories)))
            with torch.inference_mode():
                users = np.zeros_like(spans)
                every = top_items(model, data.histories, loaded.item_vectors, users, spans, 5)
            return {
                "recommended": np.array([each.score for each in best]),
                "scored": loaded.score([ids[3]], ids[:7]),
                "best of users": every.score,
            }

        return Made(click_task(settings, data, model), recommended)

    return make


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> NamedModels:
    return NamedModels(tmp_path_factory.mktemp("named"))


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in SAMPLE else [pytest.mark.slow]) for each in EVERY]
)
def test_named_models(name: str, named: NamedModels, tmp_path: Path) -> None:
    settings = named.settings(name, epoch_batch=STEPS)
    made = named_task(settings)
    done = hold(made, tmp_path)
    # A part of the items more sends the tokens of its own, and where they are.
    assert 1 <= done.copies_of_a_step <= 12 + 3 * (len(settings.model.item_parts) - 1)
    held_in_recomputation(made)


def test_there_are_named_models() -> None:
    assert len(EVERY) >= 62 and set(SAMPLE) <= set(EVERY)


def held_in_recomputation(make: Make) -> None:
    """Items in pages ask for the gradients that they ask for when all is kept, dropout and all."""
    with StandIn() as device:
        recomputes(make, device.device)


def recomputes(make: Make, device: torch.device, rounding: float = 0.0) -> None:
    """The same on any device; ``rounding`` in units of the largest value."""
    kept, again = (make(device).task for _ in range(2))
    if getattr(kept.model, "reads_states", False):
        return  # it refuses pages
    for task in (kept, again):
        set_dropout(task.model, 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legorec.recommender, "recomputed", lambda run, rows, *_: run(rows))
        wanted = gradients(kept, device, 8)
    found = gradients(again, device, 8)
    assert found.keys() == wanted.keys() and wanted
    for name, value in wanted.items():
        largest = float((found[name] - value).abs().max())
        assert largest <= rounding * float(value.abs().max()), f"{name}: other dropout in recomputation"


def test_recomputation_draws_the_same_dropout() -> None:
    held_in_recomputation(small_task())


def test_other_dropout_in_recomputation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(run: Any, rows: Tensor, *_: Any) -> Tensor:
        return checkpoint(run, rows, use_reentrant=False)

    monkeypatch.setattr(legorec.recommender, "recomputed", plain)
    with pytest.raises(AssertionError, match="other dropout in recomputation"):
        held_in_recomputation(small_task())


class Planted(nn.Module):
    """A user encoder that does something else first."""

    def __init__(self, encoder: nn.Module, fault: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.encoder, self.fault = encoder, fault

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        self.fault(clicks_BHD, mask_BH)
        return self.encoder(clicks_BHD, mask_BH)


def with_fault(fault: Callable[[Tensor, Tensor], Any]) -> Make:
    def change(model: Recommender) -> None:
        model.user_encoder = Planted(model.user_encoder, fault)

    return small_task(change)


WAITING: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "_local_scalar_dense reads a value": lambda clicks, mask: clicks.sum().item(),
    "is_nonzero|_local_scalar_dense": lambda clicks, mask: bool(mask.any()),
    "tolist reads values": lambda clicks, mask: mask.tolist(),
    "index by a mask": lambda clicks, mask: clicks[mask],
    "nonzero has a size that depends on values": lambda clicks, mask: mask.nonzero(),
    "unique2 has a size": lambda clicks, mask: torch.unique(mask.sum(1)),
    "repeat_interleave has a size": lambda clicks, mask: torch.repeat_interleave(mask.sum(1)),
    "a blocking copy to the device": lambda clicks, mask: torch.zeros(3).to(clicks.device),
    "not pinned": lambda clicks, mask: torch.zeros(3).to(clicks.device, non_blocking=True),
    "blocking copy": lambda clicks, mask: torch.tensor(1.0, device=clicks.device),
    "a copy to the host": lambda clicks, mask: mask.cpu(),
    "index by an index of the host": lambda clicks, mask: clicks[torch.tensor([0])],
}


def test_what_waits_is_caught() -> None:
    """Each of them, with the line that it stands in."""

    def every(clicks: Tensor, mask: Tensor) -> None:
        for fault in WAITING.values():
            fault(clicks, mask)

    with StandIn() as device:
        found = trained(with_fault(every)(device.device), FitOptions()).waits_of_steps
    for what, fault in WAITING.items():
        place = f"tests/contracts/test_device.py:{fault.__code__.co_firstlineno}"
        assert any(re.search(what, each) and each.endswith(place) for each in found), (what, found)


def test_a_mask_left_on_the_host_is_caught() -> None:
    def left(clicks: Tensor, mask: Tensor) -> Tensor:
        return clicks.masked_fill(torch.zeros(mask.shape, dtype=torch.bool).unsqueeze(2), 0.0)

    with StandIn() as device, pytest.raises(Mixture, match="masked_fill mixes the device and the host at"):
        trained(with_fault(left)(device.device), FitOptions())


def test_nothing_is_noted_where_nothing_waits() -> None:
    with StandIn() as device:
        done = trained(with_fault(lambda clicks, mask: clicks + mask.sum())(device.device), FitOptions())
        assert not done.waits_of_steps and device.waits and done.copies_of_a_step == 3


def on_device(value: Any, device: torch.device) -> Any:
    """Token states keep their lengths on the host; a source's rows stay there altogether."""
    if isinstance(value, TokenStates):
        return TokenStates(sent(device, value.values.detach())[0].requires_grad_(), value.lengths)
    found = sent(device, value.detach())[0]
    return found.requires_grad_() if value.requires_grad else found


def brick_run(kind: str, name: str, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """What a brick gives, and its gradients."""
    brick = bricks.construct(kind, name)
    without_dropout(brick)
    for part in ("catalog", "profiles"):
        if hasattr(brick, part):
            setattr(brick, part, copy.copy(getattr(brick, part)).to(device))
    brick.to(device)
    asked = bricks.extras_given(kind, name)
    given = bricks.inputs(kind, name)
    if device != CPU:
        given = given if kind == "source" else tuple(on_device(each, device) for each in given)
        asked = {key: on_device(each, device) for key, each in asked.items()}
    out = brick(*given, **asked)
    out = out.values if isinstance(out, TokenStates) else out
    if out.requires_grad:
        out.square().sum().backward()
    grads = {name: value.grad.cpu() for name, value in brick.named_parameters() if value.grad is not None}
    return out.detach().cpu(), grads


@pytest.mark.parametrize("kind, name", bricks.BRICKS)
def test_bricks(kind: str, name: str) -> None:
    bricks.construct(kind, name)  # once before: what it writes first is drawn from the seed too
    wanted, wanted_grads = brick_run(kind, name, CPU)
    with StandIn() as device:
        found, grads = brick_run(kind, name, device.device)
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert grads.keys() == wanted_grads.keys()
    largest = max((float(value.abs().max()) for value in wanted_grads.values()), default=0.0)
    for parameter, value in wanted_grads.items():
        rounding = 1e-4 * float(value.abs().max()) + 1e-6 * largest
        torch.testing.assert_close(grads[parameter], value, rtol=0, atol=rounding, msg=parameter)
