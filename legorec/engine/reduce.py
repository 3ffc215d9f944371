"""The gradients of a step summed over processes, so that each takes the step that one alone would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from legorec.processes import Processes

BUCKET_BYTES = 64 * 2**20  # sent at a time, which is the memory that it costs beside the gradients


def reduce_gradients(parameters: Sequence[nn.Parameter], processes: Processes) -> None:
    """Make every gradient its sum over all processes.

    A parameter that only some have used counts as zero in the others. One that none has used stays without a
    gradient: a gradient of zero would let AdamW move it by its momentum, and one process alone would not.
    """
    if processes.world == 1:
        return
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
    processes.add(used)
    found = []
    for parameter, times in zip(parameters, used.tolist(), strict=True):
        if times:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found.append(parameter.grad)
    for bucket in _buckets(found):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        processes.add(flat)
        for gradient, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def reduce_sums(sums: Mapping[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """Scalars of the same names in all processes, each as its sum over them, still on the device."""
    if processes.world == 1 or not sums:
        return dict(sums)
    # A process without an example does not know the dtype of the others' losses.
    whole = torch.stack([each.to(torch.float64) for each in sums.values()])
    processes.add(whole)
    return dict(zip(sums, whole.unbind(), strict=True))


def average_buffers(model: nn.Module, processes: Processes) -> None:
    """Average the buffers over all processes, such as the statistics that Dice measures."""
    if processes.world == 1:
        return
    kept = model.state_dict().keys()
    measured = [each for name, each in model.named_buffers() if name in kept and each.is_floating_point()]
    for bucket in _buckets(measured):
        flat = torch.cat([each.reshape(-1) for each in bucket])
        processes.add(flat)
        for each, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            each.copy_(part.view_as(each) / processes.world)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype together, in order, up to ``BUCKET_BYTES`` or one that alone is larger."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        size = sum(each.nbytes for each in bucket) + gradient.nbytes
        if bucket and (size > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
