"""Results arrive whole, and the host waits for them alone."""

import pytest
import torch

from legorec.nn.fetching import Fetched
from tests.support.stand_in import StandIn, available


def test_on_the_cpu_they_are_there():
    values = torch.randn(3, 2)
    assert Fetched(values).wait() is values


@pytest.mark.skipif(not available(), reason="this torch has no backends in Python")
def test_the_device_goes_on_meanwhile():
    with StandIn() as device:
        values = torch.arange(6.0, device=device.device).view(3, 2)
        first = Fetched(values)
        second = Fetched(values + 1)
        assert first.wait().tolist() == [[0, 1], [2, 3], [4, 5]] and not device.waits
        assert second.wait().tolist() == [[1, 2], [3, 4], [5, 6]]
        assert list(device.waits.values()) == [1], "nothing was queued after the second"
