"""The message for a training batch that does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from legorec.engine.fit import Progress
from legorec.halving import NoMemoryError, first_line, lacks_memory

if TYPE_CHECKING:
    from legorec.settings.exp_layer import PolicySettings


@contextmanager
def batches_fitting(policy: PolicySettings, progress: Progress) -> Iterator[None]:
    """Turn an out-of-memory error of a training step into advice.

    Nothing is halved here: what a batch is decides the result.

    Raises:
        NoMemoryError: naming the batch, and settings for smaller ones over the same examples.
    """
    try:
        yield
    except (MemoryError, RuntimeError, NoMemoryError) as error:
        if not lacks_memory(error):
            raise
        raise NoMemoryError(
            f"out of memory in training at batch {progress.next_batch} ({first_line(error)}); the last "
            f"checkpoint is untouched. {_smaller_batches(policy)}--exp.policy.item_page_size encodes fewer "
            "items at a time"
        ) from error


def _smaller_batches(policy: PolicySettings) -> str:
    size = policy.batch_size
    parts = next((number for number in range(2, size + 1) if size % number == 0), 1)
    if parts == 1:
        return ""
    said = f"--exp.policy.batch_size {size // parts} --exp.policy.acc_batch {policy.acc_batch * parts}"
    if policy.epoch_batch > 0:  # which counts batches
        said += f" --exp.policy.epoch_batch {policy.epoch_batch * parts}"
    return f"{said} takes steps over the same examples in smaller batches; "
