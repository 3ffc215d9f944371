"""A prompted model on a device: the same numbers as on the CPU, and no step that waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from legorec.recipes.prompted import prompted
from legorec.settings import Settings, read_command_line
from tests.support.on_devices import STEPS, Made, Make, hold
from tests.support.prompted import arguments, marked_store
from tests.support.stand_in import available

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no backends in Python")


def prompted_task(settings: Settings) -> Make:
    return lambda device: Made(prompted(settings, device))


@pytest.mark.parametrize("flags", [{}, pytest.param({"loss_on": "all"}, marks=pytest.mark.slow)])
def test_a_model_from_scratch(flags: dict[str, str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    marked_store(store, num_users=20, examples=3)
    settings = read_command_line(arguments(store, tmp_path / "runs", epoch_batch=STEPS, **flags))
    torch.manual_seed(0)
    done = hold(prompted_task(settings), tmp_path)
    assert 1 <= done.copies_of_a_step <= 6
