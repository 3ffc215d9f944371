"""What a language model gives of the items, measured before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from legorec.abilities import Prefetches, StartsCentred
from legorec.processes import ALONE, Processes
from legorec.recommender import Recommender

SAMPLE = 512  # items that are read, to twice as many
PAGE = 128  # of these at a time


@torch.no_grad()
def centre(model: Recommender, num_items: int, page_size: int, processes: Processes = ALONE) -> None:
    """Tell item encoders mean and deviation of what they centre, alike in all processes.

    Args:
        page_size: items at a time; 0: ``PAGE``.
    """
    rows = torch.arange(num_items)[:: max(1, num_items // SAMPLE)]
    was_training = model.training
    model.eval()
    for part in model.item_parts:
        encoder = part.item_encoder
        if not isinstance(encoder, StartsCentred) or encoder.centring is None:
            continue
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for page in read_ahead(part.source, rows.split(page_size or PAGE)):
            values_TE = encoder.read(part.source(page)).cpu().double()
            count += len(values_TE)
            total = total + values_TE.sum(0)
            squares = squares + values_TE.square().sum(0)
        if count:
            mean = total / count
            encoder.centring.measure(mean, (squares / count - mean.square()).clamp_min(0.0).sqrt())
        for measured in (encoder.centring.mean, encoder.centring.deviation):
            if not processes.is_first:  # to the last bit what the first process measured
                measured.zero_()
            processes.merge(measured)
    model.train(was_training)


def read_ahead(source: nn.Module, pages: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pages, each while the source fetches the next one, where it can."""
    for place, page in enumerate(pages):
        for asked in pages[place if place == 0 else place + 1 : place + 2]:
            if isinstance(source, Prefetches):
                source.prefetch(asked)
        yield page
