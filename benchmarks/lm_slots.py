"""A training step on cached states, beside encoding every slot at padded length through all layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import lm_plain, lm_subject, subject
from benchmarks.lm_subject import LanguageModel
from benchmarks.lm_timing import in_turns, medians
from benchmarks.lm_training import LR, Trainer
from legorec.batch import ClickBatch
from legorec.lm.cut import Precision
from legorec.lm.pretrained import DTYPES


@dataclass(frozen=True)
class SlotFigures:
    """Seconds of one step, medians."""

    model: str
    precision: str
    batch_size: int
    slots: int  # of a batch, padded ones included
    length: int  # of a slot
    cached: float
    every_slot: float

    @property
    def ratio(self) -> float:
        return self.every_slot / self.cached


def padded_catalog(model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Ids (I + 1, L) and mask of all items at the length of the longest; row 0 is padding."""
    tokens = model.catalog.tokens(torch.arange(model.catalog.num_items))
    rows = tokens.ids.split(tokens.lengths.sum(1).tolist())
    return lm_plain.padded([tokens.ids[:0], *rows])


def slots_of(batch: ClickBatch) -> tuple[Tensor, Tensor]:
    """Item numbers of the history (B, 50) and of the candidates (B, K), shifted by one; 0 for padding."""
    history = (batch.items[batch.history] + 1) * batch.history_mask
    missing = subject.HISTORY_LENGTH - history.shape[1]
    history = torch.nn.functional.pad(history, (0, missing))
    candidates = (batch.items[batch.candidates] + 1) * batch.candidate_mask
    clicked_first = batch.labels.argsort(dim=1, descending=True, stable=True)
    return history, candidates.gather(1, clicked_first)


def measure(
    model: LanguageModel, precision: Precision, cache: Path, *, batch_size: int, rounds: int
) -> SlotFigures:
    """Both in turns, a step each on the same clicks, after an uncounted round."""
    lm_subject.write_cache(model, cache, precision)
    stream = subject.click_stream(model.store, 1, batch_size)
    cached = Trainer(lm_subject.recommender(model, cache, precision), stream)
    torch.manual_seed(2023)
    titles, mask = padded_catalog(model)
    plain = lm_plain.EverySlot(model.checkpoint.folder, model.depth, DTYPES[precision], titles, mask).train()
    plain.lower.eval()
    # Its bare layers hold no adapter, so that what LoRA adds is paid by the cached side alone.
    optimizer = torch.optim.Adam([each for each in plain.parameters() if each.requires_grad], lr=LR)
    batches = iter([slots_of(stream.batch(number)) for number in range(rounds + 1)])

    def every_slot() -> None:
        lm_plain.every_slot_step(plain, *next(batches), optimizer)

    spent = medians(in_turns({"cached": cached.turn, "every slot": every_slot}, rounds))
    return SlotFigures(
        model=model.name,
        precision=precision,
        batch_size=batch_size,
        slots=batch_size * (subject.HISTORY_LENGTH + 1 + subject.NUM_NEGATIVES),
        length=titles.shape[1],
        cached=spent["cached"],
        every_slot=spent["every slot"],
    )
