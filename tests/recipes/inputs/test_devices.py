"""The device of a run becomes the current one; a library's user keeps his own."""

import pytest
import torch

from legorec.halving import Halving
from legorec.recipes.inputs.devices import choose_device, usable_device
from tests.support.stand_in import StandIn, available

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no backends in Python")


def test_the_device_of_a_run_is_the_current_one():
    with StandIn() as device:
        assert usable_device("standin:0") == device.device and device.chosen == []
        assert choose_device("standin:0") == device.device and device.chosen == [0]
        assert choose_device("cpu") == torch.device("cpu") and device.chosen == [0]


@pytest.mark.parametrize("choose", [choose_device, usable_device])
def test_a_device_that_is_not_here(choose):
    with pytest.raises(ValueError, match="`device` 'xpu' cannot be used here: "):
        choose("xpu")


def test_an_accelerator_gives_back_what_it_keeps_when_memory_is_short():
    def run(rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return rows.tolist()

    with StandIn() as device:
        halved = Halving(4, "rows", lambda text: None)
        assert list(halved.pages(torch.arange(3), run, str)) == [[0, 1], [2]]
        assert device.emptied == 1
