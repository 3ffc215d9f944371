"""Recurrent layers over ragged rows against torch's own, row by row."""

import pytest
import torch

from legorec.nn.recurrent import RaggedGRU
from legorec.nn.segments import Segments

LENGTHS = [3, 0, 1, 7, 3, 0, 12]
E, S = 5, 4


@pytest.fixture
def rows() -> Segments:
    return Segments(torch.tensor(LENGTHS))


@pytest.fixture
def values(rows) -> torch.Tensor:
    drawn = torch.randn(rows.total, E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return drawn.requires_grad_()


@pytest.fixture
def first() -> torch.Tensor:
    drawn = torch.randn(len(LENGTHS), S, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return drawn.requires_grad_()


def recurrent(num_layers: int = 1) -> RaggedGRU:
    torch.manual_seed(0)
    return RaggedGRU(E, S, num_layers).double()


def one_by_one(gru: RaggedGRU, values, first) -> tuple[list[torch.Tensor], torch.Tensor]:
    """nn.GRU on every row alone."""
    states, last = [], []
    for row, start in zip(values.split(LENGTHS), first, strict=True):
        if len(row):
            out, _ = gru.layers(row[None], start.expand(gru.layers.num_layers, 1, -1).contiguous())
            states.append(out[0])
            last.append(out[0, -1])
        else:
            last.append(start)
    return states, torch.stack(last)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("started", [False, True])
def test_states_are_those_of_each_row_alone(rows, values, first, num_layers, started):
    gru = recurrent(num_layers)
    start = first if started else torch.zeros_like(first)
    states, last = one_by_one(gru, values, start)
    got_states, got_last = gru.packed(values, rows, first if started else None)
    torch.testing.assert_close(got_states, torch.cat(states))
    torch.testing.assert_close(got_last, last)


@pytest.mark.parametrize("garbage", [1e4, torch.inf, torch.nan])
@pytest.mark.parametrize("method", ["forward", "_padded"])
@pytest.mark.parametrize("started", [False, True])
def test_padded_rows_and_their_gradients_are_those_of_packed_ones(
    rows, values, first, method, started, garbage
):
    """``_padded`` is what other devices do."""
    gru = recurrent(2)
    wanted = [values, *gru.parameters(), *([first] if started else [])]
    start = first if started else None
    packed = gru.packed(values, rows, start)
    padded, mask = rows.pad(values)
    padded = padded.masked_fill(~mask.unsqueeze(2), garbage)
    states, last = getattr(gru, method)(padded, mask, start)
    torch.testing.assert_close(states, rows.pad(packed[0])[0])
    torch.testing.assert_close(last, packed[1])
    grads = [
        torch.autograd.grad(states.sin().sum() + last.cos().sum(), wanted, retain_graph=True)
        for states, last in (packed, (states, last))
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", ["forward", "_padded"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_step_over(method, shape):
    gru = recurrent()
    first = torch.ones(shape[0], S)
    values, mask = torch.ones(*shape, E), torch.zeros(shape, dtype=torch.bool)
    states, last = getattr(gru, method)(values, mask, first)
    assert states.shape == (*shape, S) and torch.equal(last, first.double())
    assert not getattr(gru, method)(values, mask, None)[1].any()


def test_rows_that_are_all_empty():
    gru = recurrent()
    states, last = gru(torch.ones(2, 3, E).double(), torch.zeros(2, 3, dtype=torch.bool))
    assert states.shape == (2, 3, S) and not states.any() and last.shape == (2, S) and not last.any()


def test_gradients_repeat_bit_by_bit():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(30) < torch.randint(0, 31, (200, 1), generator=generator)
    values = torch.randn(200, 30, 32, generator=generator, requires_grad=True)
    torch.manual_seed(0)
    gru = RaggedGRU(32, 32)
    found = []
    for _ in range(3):
        states, last = gru(values, mask)
        loss = states.square().sum() + last.square().sum()
        found.append(torch.autograd.grad(loss, [values, *gru.parameters()]))
    assert all(
        torch.equal(one, other) for again in found[1:] for one, other in zip(found[0], again, strict=True)
    )


def test_steps_keep_the_precision_of_the_weights_under_autocast(rows, values):
    gru = recurrent().float()
    expected = gru.packed(values.bfloat16(), rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, last = gru.packed(values.bfloat16(), rows)
    assert states.dtype == last.dtype == torch.float32
    assert torch.equal(states, expected[0]) and torch.equal(last, expected[1])


def test_dropout_between_layers(rows, values):
    torch.manual_seed(0)
    gru = RaggedGRU(E, S, num_layers=2, dropout=0.5).double()
    one, other = gru.packed(values, rows)[0], gru.packed(values, rows)[0]
    assert not torch.equal(one, other)
    gru.eval()
    torch.testing.assert_close(gru.packed(values, rows)[0], recurrent(2).packed(values, rows)[0])


def test_a_layer_is_needed():
    with pytest.raises(ValueError, match="`num_layers` must be at least 1, got 0"):
        RaggedGRU(E, S, num_layers=0)
