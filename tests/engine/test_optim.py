"""Groups and rates of the optimizer, and its state out and back."""

import math

import pytest
import torch
from torch import Tensor, nn

from legorec.engine.fit import FitOptions
from legorec.engine.optim import (
    gradients,
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
    trainable,
)


class Given(nn.Module):
    """Weights that were not drawn by us."""

    pretrained = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)


class Model(nn.Module):
    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.given = Given().requires_grad_(not frozen)
        self.head = nn.Linear(3, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.given.inner(inputs))


def rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    """The learning rate of each trainable parameter; each stands in one group."""
    found = {id(part): group["lr"] for group in optimizer.param_groups for part in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups)
    names = trainable(model)
    assert set(found) == {id(part) for part in names.values()}
    return {name: found[id(part)] for name, part in names.items()}


@pytest.mark.parametrize("item_lr, given", [(None, 0.1), (0.01, 0.01), (0.0, 0.0)])
def test_item_lr_is_for_pretrained_weights(item_lr, given):
    model = Model()
    found = rates(make_optimizer(model, lr=0.1, item_lr=item_lr), model)
    wanted = {"given.inner.weight": given, "given.inner.bias": given}
    assert found == wanted | {"head.weight": 0.1, "head.bias": 0.1}


def test_frozen_weights_are_left_out():
    model = Model(frozen=True)
    assert set(rates(make_optimizer(model, lr=0.1), model)) == {"head.weight", "head.bias"}


def test_item_lr_without_anything_pretrained_is_refused():
    for model in (Model(frozen=True), nn.Linear(2, 2)):
        with pytest.raises(
            ValueError, match=r"`item_lr` \(0\.01\) has nothing to act on: no pretrained item"
        ):
            make_optimizer(model, lr=0.1, item_lr=0.01)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="the model has no trainable parameter; use mode `test`"):
        make_optimizer(Model().requires_grad_(False), lr=0.1)


def test_all_weights_may_be_pretrained():
    model = Model()
    model.head.requires_grad_(False)
    assert set(rates(make_optimizer(model, lr=0.1, item_lr=0.02), model).values()) == {0.02}


@pytest.mark.parametrize("warmup, shares", [(0, [1, 1, 1]), (1, [1, 1, 1]), (4, [0.25, 0.5, 0.75, 1, 1, 1])])
def test_warmup_rises_by_optimizer_steps(warmup, shares):
    model = Model()
    optimizer = make_optimizer(model, lr=0.1, item_lr=0.02)
    for step, share in enumerate(shares):
        set_learning_rate(optimizer, step, warmup)
        assert set(rates(optimizer, model).values()) == {0.1 * share, 0.02 * share}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(5, 3, generator=generator)).square().mean().backward()
    optimizer.step()


def test_without_weight_decay_it_is_adam():
    one, other = Model(), Model()
    ours, adam = make_optimizer(one, lr=0.1), torch.optim.Adam(other.parameters(), lr=0.1)
    for seed in range(4):
        step(one, ours, seed)
        step(other, adam, seed)
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)


def test_weight_decay_shrinks_weights():
    one, other = Model(), Model()
    step(one, make_optimizer(one, lr=0.1), 0)
    step(other, make_optimizer(other, lr=0.1, weight_decay=0.5), 0)
    before = Model().head.weight
    torch.testing.assert_close(one.head.weight - other.head.weight, before * 0.1 * 0.5, rtol=1e-4, atol=1e-6)


def test_state_goes_out_and_back_bit_by_bit():
    straight, again = Model(), Model()
    first = make_optimizer(straight, lr=0.1, item_lr=0.02)
    for seed in range(3):
        step(straight, first, seed)
    saved = {name: value.clone() for name, value in state_tensors(first, straight).items()}
    assert set(saved) == {
        f"{name}/{entry}" for name in trainable(straight) for entry in ("step", "exp_avg", "exp_avg_sq")
    }
    second = make_optimizer(again, lr=0.1, item_lr=0.02)
    again.load_state_dict(straight.state_dict())
    load_state_tensors(second, again, saved)
    for seed in range(3, 6):
        step(straight, first, seed)
        step(again, second, seed)
    for left, right in zip(straight.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)
    for name, value in state_tensors(first, straight).items():
        assert torch.equal(state_tensors(second, again)[name], value)


def test_state_before_the_first_step_is_empty():
    model = Model()
    optimizer = make_optimizer(model, lr=0.1)
    assert state_tensors(optimizer, model) == {}
    load_state_tensors(optimizer, model, {})
    step(model, optimizer, 0)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("gone.weight/exp_avg", torch.zeros(3), "is of 'gone.weight', which is not trained in this model"),
        ("given.inner.bias/exp_avg", torch.zeros(3), "is of 'given.inner.bias', which is not trained"),
        ("head.bias/exp_avg", torch.zeros(3), r"'head\.bias/exp_avg' is \(3,\), the parameter is \(1,\)"),
    ],
)
def test_state_of_another_model_is_refused(key, value, message):
    model = Model(frozen=True)
    with pytest.raises(ValueError, match=message):
        load_state_tensors(make_optimizer(model, lr=0.1), model, {key: value})


def test_gradients_are_those_there_are():
    model = Model()
    model.head(torch.ones(1, 3)).sum().backward()
    assert [part.shape for part in gradients(model.parameters())] == [(1, 3), (1,)]


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    ("schedule", "shape"),
    [("linear", lambda done: 1 - done), ("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2)],
)
def test_a_schedule_falls_from_the_full_rate_after_the_warmup_to_nothing(warmup, schedule, shape):
    optimizer = make_optimizer(Model(), lr=0.1, item_lr=0.02)
    found = []
    for step in range(21):
        set_learning_rate(optimizer, step, warmup, schedule, 20)
        found.append([group["lr"] / group["base_lr"] for group in optimizer.param_groups])
    assert all(one == pytest.approx(other) for one, other in found)
    shares = [one for one, _ in found]
    assert shares[:warmup] == pytest.approx([(step + 1) / 4 for step in range(warmup)])
    assert shares[warmup:] == pytest.approx([shape(step / (20 - warmup)) for step in range(21 - warmup)])
    assert shares[warmup] == 1 and shares[20] == pytest.approx(0) and shares[19] > 0


def test_a_schedule_needs_the_number_of_steps():
    with pytest.raises(ValueError, match="`num_steps` must be given with schedule 'linear'"):
        FitOptions(schedule="linear")
