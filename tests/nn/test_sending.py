"""Arrays arrive as they were, in one copy that nobody waits for; on the CPU they are not copied at all."""

import numpy as np
import pytest
import torch

from legorec.nn.sending import host_buffer, pins, sent
from tests.support.stand_in import StandIn, available

PARTS = (
    np.array([[3, 1], [4, 1]]),
    torch.tensor([True, False, True]),
    torch.arange(5, dtype=torch.float32)[::2],
    np.zeros((0, 3), dtype=np.int64),
    torch.tensor(2.5),
    torch.ones(3, dtype=torch.bfloat16),
)


def equal(found, given):
    given = torch.as_tensor(given)
    return found.dtype == given.dtype and found.shape == given.shape and torch.equal(found, given)


def test_on_the_cpu_they_are_used_as_they_are():
    found = sent("cpu", *PARTS)
    assert all(map(equal, found, PARTS))
    assert found[0].data_ptr() == PARTS[0].ctypes.data and found[1] is PARTS[1]
    assert not pins("cpu") and not host_buffer(3, dtype=torch.int64, device=torch.device("cpu")).is_pinned()


@pytest.mark.skipif(not available(), reason="this torch has no backends in Python")
def test_on_a_device_they_arrive_in_one_copy():
    with StandIn() as device:
        found = sent(device.device, *PARTS)
        assert all(part.device == device.device for part in found)
        assert sum(device.copies.values()) == 1 and not device.waits
        assert sent(device.device, found[0])[0] is found[0], "what is there stays there"
        assert sum(device.copies.values()) == 2
        back = sent("cpu", *found)
    assert all(map(equal, back, PARTS))


def test_nothing_to_send():
    assert sent("cpu") == ()
    assert sent("meta", np.arange(3))[0].shape == (3,)
