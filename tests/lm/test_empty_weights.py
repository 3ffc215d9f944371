"""Weights left out by the thread that asks for it, and by no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from legorec.lm.empty_weights import empty_weights
from tests.support.forking import in_a_fork


class Both(nn.Module):
    """A parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3), requires_grad=False)
        self.none = nn.Parameter(torch.ones(1))
        self.register_parameter("none", None)
        self.register_buffer("places", torch.arange(3))


def test_parameters_are_empty_and_buffers_are_not():
    plain = nn.Module.register_parameter
    with empty_weights():
        made = Both()
    assert made.weight.is_meta and not made.weight.requires_grad and made.none is None
    assert made.places.tolist() == [0, 1, 2]
    assert nn.Module.register_parameter is plain and not Both().weight.is_meta


def test_another_thread_has_its_weights():
    with empty_weights(), ThreadPoolExecutor(1) as pool:
        assert not pool.submit(Both).result().weight.is_meta
        assert Both().weight.is_meta


def test_several_threads_take_turns():
    def make(number: int) -> bool:
        with empty_weights():
            return all(
                each.is_meta for each in nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)]).parameters()
            )

    plain = nn.Module.register_parameter
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(make, range(64)))
    assert nn.Module.register_parameter is plain


def test_an_error_puts_things_back():
    with pytest.raises(ZeroDivisionError), empty_weights():
        _ = 1 / 0
    assert not Both().weight.is_meta


def test_a_process_that_was_forked_meanwhile_does_not_wait():
    def child() -> bool:
        with empty_weights():
            return Both().weight.is_meta

    with empty_weights():
        assert in_a_fork(child) is True
