"""What is computed again gives the gradients of what was kept, with the random numbers of its device."""

import pytest
import torch
from torch import nn

from legorec.nn.recomputed import recomputed
from tests.support.stand_in import StandIn, available

needs_stand_in = pytest.mark.skipif(not available(), reason="this torch has no backends in Python")


def gradients(device, run, bf16=False):
    """Of two parts, one after the other, with dropout."""
    torch.manual_seed(0)
    table, dense = nn.Embedding(9, 4).to(device), nn.Linear(4, 4).to(device)

    def part(rows):
        return nn.functional.dropout(torch.relu(dense(table(rows.to(device)))), 0.5)

    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        parts = [run(part, rows) for rows in (torch.tensor([1, 2, 3]), torch.tensor([4, 5]))]
    torch.cat(parts).float().square().sum().backward()
    return [value.grad.cpu() for value in (*table.parameters(), *dense.parameters())]


def kept(part, rows):
    return part(rows)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("where", ["cpu", pytest.param("device", marks=needs_stand_in)])
def test_gradients_are_those_of_what_was_kept(where, bf16):
    def compare(device):
        calls = []
        wanted = gradients(device, kept, bf16)
        found = gradients(
            device,
            lambda part, rows: recomputed(part, rows, device, lambda: calls.append(rows.tolist())),
            bf16,
        )
        assert all(map(torch.equal, found, wanted)) and any(value.any() for value in wanted)
        assert calls == [[4, 5], [1, 2, 3]], "told before each is computed again, the last first"

    if where == "cpu":
        compare(torch.device("cpu"))
    else:
        with StandIn() as device:
            compare(device.device)


@needs_stand_in
def test_the_generator_goes_on_as_if_nothing_was_computed_again():
    with StandIn() as device:
        gradients(device.device, kept)
        wanted = torch.rand(3, device=device.device).cpu()
        gradients(device.device, lambda part, rows: recomputed(part, rows, device.device))
        assert torch.equal(torch.rand(3, device=device.device).cpu(), wanted)


def test_two_backward_passes():
    weight = torch.ones(3, requires_grad=True)
    out = recomputed(lambda rows: (weight * rows).sin().sum(), torch.arange(3.0), torch.device("cpu"))
    for times in (1, 2):
        out.backward(retain_graph=True)
        torch.testing.assert_close(weight.grad, times * torch.arange(3.0) * torch.arange(3.0).cos())
