"""Vectors in chunks: losses and gradients of the plain form, in the memory of a small batch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from legorec.nn.drawing import drawing, entry, examples
from legorec.nn.dropout import Dropout
from legorec.objectives.contrast import in_chunks, info_nce
from tests.support.runs import ROOT

NUMBER, WIDTH = 11, 6


class Encoder(nn.Module):
    """Two views of each row by one network, whose dropout makes them differ."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), dropout, nn.Linear(8, 4))
        self.calls: list[int] = []

    def forward(self, rows_BE: Tensor) -> Tensor:
        self.calls.append(len(rows_BE))
        with examples(entry("texts"), len(rows_BE)):
            return self.layers(rows_BE.unsqueeze(1)).squeeze(1)


def inputs() -> Tensor:
    return torch.randn(NUMBER, WIDTH, generator=torch.Generator().manual_seed(1))


def trained(size: int | None) -> tuple[Tensor, list[Tensor], Encoder]:
    """The losses of two views (SimCSE) and the gradients; ``size`` rows at a time, or all."""
    torch.manual_seed(0)
    model, rows = Encoder(Dropout(0.4)).double().train(), inputs().double()
    rows.requires_grad_()

    def views() -> Tensor:
        if size is None:
            return model(rows)
        return in_chunks(lambda some: model(rows[some]), NUMBER, size)

    with drawing(7, 3, first=20):
        loss = info_nce(views(), views(), keys_B=torch.arange(NUMBER) % 7)
    loss.sum().backward()
    return loss.detach(), [value.grad for value in (rows, *model.parameters())], model


@pytest.mark.parametrize("size", [1, 3, 4, 10, 11, 50])
def test_losses_and_gradients_are_those_of_the_plain_form(size):
    """Also with dropout, and where the last chunk is short."""
    (plain, wanted, _), (loss, found, model) = trained(None), trained(size)
    assert max(model.calls) == min(size, NUMBER)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=1e-10)
    for one, other in zip(found, wanted, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_the_two_views_differ_by_dropout_alone():
    torch.manual_seed(0)
    for rate, same in ((0.0, True), (0.4, False)):
        model = Encoder(Dropout(rate)).train()
        with drawing(7, 3):
            views = [in_chunks(lambda some, model=model: model(inputs()[some]), NUMBER, 4) for _ in range(2)]
        assert torch.equal(*views) is same


def test_dropout_of_torchs_own_is_drawn_again():
    """By the loss: its gradient along a direction is what a step in that direction changes."""
    torch.manual_seed(0)
    model, rows = Encoder(nn.Dropout(0.4)).double().train(), inputs().double()
    weight = model.layers[0].weight

    def loss() -> Tensor:
        torch.manual_seed(5)
        return info_nce(*(in_chunks(lambda some: model(rows[some]), NUMBER, 3) for _ in range(2))).sum()

    loss().backward()
    with torch.no_grad():
        move, before = 1e-6 * torch.randn_like(weight), loss()
        weight += move
        torch.testing.assert_close(loss() - before, (move * weight.grad).sum(), rtol=1e-3, atol=1e-10)


def test_only_what_needs_a_gradient_is_encoded_twice():
    for size, calls in ((4, [4, 4, 3]), (11, [11])):
        model = Encoder(Dropout(0.1))
        with torch.no_grad():
            in_chunks(lambda some, model=model: model(inputs()[some]), NUMBER, size)
        assert model.calls == calls
    _, _, model = trained(4)
    assert sorted(model.calls) == sorted([4, 4, 3] * 4)
    assert trained(None)[2].calls == [NUMBER] * 2


@pytest.mark.parametrize(("number", "size"), [(5, 0), (0, 5)])
def test_sizes_below_one(number, size):
    with pytest.raises(ValueError, match="`size` and `num_rows` must be at least 1"):
        in_chunks(lambda some: inputs()[some], number, size)


MEASURED = """
import os, torch
from transformers import BertConfig, BertModel
from legorec.objectives.contrast import in_chunks, info_nce

torch.set_num_threads(1)
torch.manual_seed(0)
sizes = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256)
model = BertModel(BertConfig(vocab_size=200, **sizes), add_pooling_layer=False).train()

def step(number, size):
    texts = torch.randint(0, 200, (number, 40))
    mean = lambda rows: model(texts[rows]).last_hidden_state.mean(1)
    info_nce(*(in_chunks(mean, number, size) for _ in range(2))).sum().backward()

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

for number, size in ((1024, 16), (64, 64), (1024, 1024)):
    if os.fork() == 0:
        step(2, 2)
        open("/proc/self/clear_refs", "w").write("5")
        before = peak()
        step(number, size)
        print((peak() - before) / 1024, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_1024_texts_take_the_memory_of_64():
    """The peak of resident memory in a step of a small BERT with two views of each text."""
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    chunked, small, plain = map(float, done.stdout.split())
    print(f"1,024 in chunks of 16: {chunked:.0f} MB, 64 plain: {small:.0f} MB, 1,024 plain: {plain:.0f} MB")
    assert chunked <= small < plain / 8
