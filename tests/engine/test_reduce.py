"""Gradients, losses and buffers over processes, without starting any: each is one column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from legorec.engine import reduce
from legorec.engine.reduce import average_buffers, reduce_gradients, reduce_sums


class Meeting:
    """Threads in place of processes: ``add`` gives all of them the sum of what each brought."""

    def __init__(self, world: int) -> None:
        self.world, self.brought, self.calls = world, [torch.empty(0)] * world, 0
        self.barrier = Barrier(world)

    def all(self, work: Any) -> list[Any]:
        """What ``work(processes, rank)`` gives in each."""
        results: list[Any] = [None] * self.world

        def one(rank: int) -> None:
            results[rank] = work(Member(self, rank), rank)

        threads = [Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(timeout=30)
            assert not each.is_alive(), "they did not all add the same number of times"
        return results


class Member:
    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.world = meeting, rank, meeting.world

    def add(self, values: Tensor) -> None:
        self.meeting.brought[self.rank] = values.clone()
        self.meeting.barrier.wait(timeout=20)
        assert len({each.dtype for each in self.meeting.brought}) == 1
        total = sum(self.meeting.brought)
        self.meeting.barrier.wait(timeout=20)
        values.copy_(total)
        self.meeting.calls += self.rank == 0


def parameters(gradients: Sequence[float | None]) -> list[nn.Parameter]:
    """Parameters of different shapes and dtypes; a gradient is that number everywhere, or there is none."""
    shapes = [(2, 3), (1,), (4,), ()]
    dtypes = [torch.float32, torch.float32, torch.float64, torch.float32]
    made = [
        nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    for each, value in zip(made, gradients, strict=True):
        each.grad = None if value is None else torch.full_like(each, value)
    return made


@pytest.mark.parametrize("bucket", [1, 16, 1 << 20])
def test_gradients_are_summed_and_what_none_has_used_stays_without(bucket, monkeypatch):
    monkeypatch.setattr(reduce, "BUCKET_BYTES", bucket)
    each = [(1.0, 2.0, None, None), (10.0, None, 3.0, None), (100.0, 0.5, None, None)]

    def work(processes, rank):
        made = parameters(each[rank])
        reduce_gradients(made, processes)
        return [None if one.grad is None else set(one.grad.reshape(-1).tolist()) for one in made]

    assert Meeting(3).all(work) == [[{111.0}, {2.5}, {3.0}, None]] * 3


@pytest.mark.parametrize(("bucket", "sent"), [(1, 4), (28, 3), (1 << 20, 3)])
def test_a_bucket_is_of_one_dtype_and_as_large_as_it_may_be(bucket, sent, monkeypatch):
    monkeypatch.setattr(reduce, "BUCKET_BYTES", bucket)
    meeting = Meeting(2)
    meeting.all(lambda processes, rank: reduce_gradients(parameters((1.0, 1.0, 1.0, 1.0)), processes))
    assert meeting.calls == 1 + sent  # who has used what; then two of float32 together, the float64, the last


def test_the_loss_of_a_process_without_examples_has_any_dtype():
    losses = [torch.tensor(0.1, dtype=torch.bfloat16), torch.tensor(2.0), torch.tensor(0)]
    meeting = Meeting(3)
    found = meeting.all(lambda processes, rank: reduce_sums({"a": losses[rank], "b": losses[-1]}, processes))
    assert [(each["a"].item(), each["b"].item()) for each in found] == [(float(losses[0]) + 2.0, 0.0)] * 3
    assert meeting.calls == 1  # all sums travel together
    assert losses[1].item() == 2.0


def test_buffers_that_are_kept_and_measured_become_the_mean():
    def work(processes, rank):
        model = nn.Linear(1, 1)
        model.register_buffer("share", torch.full((2,), float(rank)))
        model.register_buffer("steps", torch.tensor(rank))
        model.register_buffer("scratch", torch.tensor(float(rank)), persistent=False)
        average_buffers(model, processes)
        return model.share.tolist(), model.steps.item(), model.scratch.item()

    assert Meeting(2).all(work) == [([0.5, 0.5], 0, 0.0), ([0.5, 0.5], 1, 1.0)]


def test_one_process_alone_changes_nothing():
    class Alone:
        world = 1

    made, loss = parameters((1.0, None, 2.0, 3.0)), torch.tensor(3.0)
    reduce_gradients(made, Alone())
    assert made[0].grad is not None and made[0].grad[0, 0] == 1.0 and made[1].grad is None
    assert reduce_sums({"a": loss}, Alone())["a"] is loss
