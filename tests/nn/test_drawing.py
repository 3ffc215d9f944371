"""What dropout draws depends on the seed, the step, the layer and the row, and on nothing else."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from legorec.nn.drawing import PLACES, belonging, drawing, entry, examples, keys_now, resumed, scales
from legorec.nn.dropout import Dropout, dropped
from legorec.nn.segments import pack


def drawn(
    shape: tuple[int, ...], rate: float = 0.3, *, seed=1, step=2, keys=None, layer=1, name="x"
) -> Tensor:
    """What layer number ``layer`` multiplies values of this shape by."""
    with drawing(seed, step):
        keys = torch.arange(shape[0]) if keys is None else keys
        with belonging(entry(name), keys):
            found = [scales(torch.ones(shape), rate) for _ in range(layer)][-1]
    assert found is not None
    return found


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_share_and_scale(rate, dtype):
    values = torch.full((2000, 203), 2.0, dtype=dtype, requires_grad=True)
    with drawing(0, 0), belonging(entry("rows"), torch.arange(2000)):
        out = Dropout(rate)(values)
    kept = out != 0
    assert abs(kept.double().mean().item() - (1 - rate)) < 0.005
    for side in (0, 1):
        assert abs(kept.double().mean(side) - (1 - rate)).max() < (0.06, 0.2)[side]
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 2.0 / (1 - rate)), rtol=1e-2, atol=0)
    out.sum().backward()
    assert torch.equal(values.grad != 0, kept)


def test_each_of_seed_step_key_layer_and_entry_draws_anew():
    first = drawn((500, 64), 0.5)
    others = {
        "seed": drawn((500, 64), 0.5, seed=2),
        "step": drawn((500, 64), 0.5, step=3),
        "keys": drawn((500, 64), 0.5, keys=torch.arange(500) + 500),
        "layer": drawn((500, 64), 0.5, layer=2),
        "name": drawn((500, 64), 0.5, name="y"),
    }
    with drawing(1, 2):
        entry("x")
        with belonging(entry("x"), torch.arange(500)):
            others["second entry"] = scales(torch.ones(500, 64), 0.5)
    for what, other in others.items():
        shared = torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]
        assert abs(shared) < 0.03, what
    assert torch.equal(first, drawn((500, 64), 0.5))


def test_rows_and_columns_do_not_follow_each_other():
    kept = drawn((400, 40, 32), 0.5).sign()
    for one, other in ((kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1]), (kept[..., 1:], kept[..., :-1])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.02
    different = len(kept.flatten(0, 1).unique(dim=0))
    assert different > 16000 * (1 - 16000 / PLACES)


def test_neither_the_other_rows_nor_padding_nor_packing_change_a_row():
    whole = drawn((9, 7, 5, 16))
    order = torch.randperm(9)
    assert torch.equal(drawn((9, 7, 5, 16), keys=order), whole[order])
    assert torch.equal(drawn((3, 4, 2, 16), keys=torch.arange(3)), whole[:3, :4, :2])
    assert torch.equal(drawn((9, 7, 5, 11)), whole[..., :11])
    mask = torch.arange(7) < torch.tensor([0, 7, 1, 3, 5, 0, 2, 4, 6]).unsqueeze(1)
    packed, rows = pack(torch.ones(9, 7, 80), mask)
    with drawing(1, 2), belonging(entry("x"), torch.arange(9)):
        found = scales(packed.view(-1, 5, 16), 0.3, rows)
    assert torch.equal(found, whole[mask])


def test_what_belongs_to_nothing_known_is_torchs():
    values = torch.ones(64, 64)
    assert scales(values, 0.3) is None and entry("rows") is None and keys_now() is None
    with drawing(0, 0):
        assert scales(values, 0.3) is None
        with belonging(entry("rows"), torch.arange(3)):
            assert scales(torch.ones(3), 0.3) is None
            torch.manual_seed(1)
            values = torch.ones(64)
            first = dropped(values, 0.3)
            torch.manual_seed(1)
            assert torch.equal(first, dropped(values, 0.3))
    with belonging(None, torch.arange(64)), examples(None, 64):
        assert scales(torch.ones(64, 64), 0.3) is None


def test_what_is_not_of_these_rows_is_drawn_by_place():
    """Such as position embeddings, which all rows share."""

    def of(keys: list[int]) -> Tensor | None:
        with drawing(0, 0), belonging(entry("rows"), torch.tensor(keys)):
            return scales(torch.ones(64, 64), 0.3)

    assert of([1, 2, 3]) is not None and torch.equal(of([1, 2, 3]), of([7]))


def test_examples_are_known_by_their_place_in_the_step():
    def of(first: int, count: int) -> Tensor | None:
        with drawing(3, 4, first), examples(entry("users"), count):
            return scales(torch.ones(count, 32), 0.3)

    assert torch.equal(of(0, 10)[4:], of(4, 6))


def test_rows_within_rows_are_drawn_anew_and_alike_in_any_groups():
    with drawing(1, 2), belonging(entry("x"), torch.arange(6) * 7):
        outer, inner = scales(torch.ones(6, 4, 32), 0.3), entry("model")
        parts = {}
        for chosen in ([0, 3], [1], [2, 4, 5]):
            with belonging(inner, keys_now()[chosen]):
                parts |= dict(zip(chosen, scales(torch.ones(len(chosen), 4, 32), 0.3), strict=True))
        with belonging(inner, keys_now()):
            whole = scales(torch.ones(6, 4, 32), 0.3)
    assert all(torch.equal(whole[row], part) for row, part in parts.items())
    assert not torch.equal(whole, outer)


def test_what_is_computed_again_draws_the_same_in_any_thread():
    layers, values = torch.nn.Sequential(Dropout(0.3), Dropout(0.3)), torch.ones(8, 32, requires_grad=True)
    with drawing(1, 2), belonging(entry("x"), torch.arange(8)):
        before = Dropout(0.3)(torch.ones(8, 32))
        out = checkpoint(layers, values, use_reentrant=False, preserve_rng_state=False, context_fn=resumed)
        after = Dropout(0.3)(torch.ones(8, 32))
    thread = threading.Thread(target=lambda: out.square().sum().backward())
    thread.start()
    thread.join()
    torch.testing.assert_close(values.grad, 2 * out.detach().square())
    assert not torch.equal(before, after)


def test_threads_do_not_disturb_each_other():
    wanted, found = {number: drawn((50, 32), seed=number) for number in range(4)}, {}
    ready = threading.Barrier(4)

    def run(number: int) -> None:
        with drawing(number, 2):
            ready.wait()
            with belonging(entry("x"), torch.arange(50)):
                ready.wait()
                found[number] = scales(torch.ones(50, 32), 0.3)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], wanted[number]) for number in range(4))
