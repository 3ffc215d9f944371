"""A batch of items is a function of its number, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legorec.aligning.items import ItemStream, held_out
from legorec.data.ragged import Ragged
from legorec.processes import Processes

TEXTS = Ragged.from_lengths(np.arange(60, dtype=np.int32), np.full(20, 3))
ITEMS = np.arange(2, 19)


def stream(**more) -> ItemStream:
    return ItemStream(TEXTS, ITEMS, batch_size=5, seed=3, **more)


def test_a_pass_has_every_item_once_and_in_a_new_order() -> None:
    made = stream()
    first, second = (
        [item for number in made.epoch(epoch) for item in made.batch(number).items.tolist()]
        for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == ITEMS.tolist() and first != second


def test_a_batch_holds_the_tokens_of_its_items() -> None:
    batch = stream().batch(1)
    assert batch.tokens.tolist() == [3 * item + place for item in batch.items.tolist() for place in range(3)]
    assert batch.lengths.tolist() == [3] * 5 and batch.group is batch.items


def test_shares_make_up_the_batch() -> None:
    whole = stream().batch(2).items
    shares = [stream(processes=Processes(rank=rank, world=3)).batch(2).items for rank in range(3)]
    assert torch.equal(torch.cat(shares), whole)


def test_what_is_made_of_a_batch_knows_its_pass() -> None:
    made = stream(made=lambda batch, turn: (batch.number, turn))
    assert [made.batch(number) for number in (0, 3, 4, 8)] == [(0, 0), (3, 0), (4, 1), (8, 2)]


def test_items_are_held_out_by_the_seed() -> None:
    learned, judged = held_out(ITEMS, 0.2, seed=1)
    assert sorted([*learned, *judged]) == ITEMS.tolist() and len(judged) == 3
    assert not np.array_equal(judged, held_out(ITEMS, 0.2, seed=2)[1])
    with pytest.raises(ValueError, match="at least 2 items"):
        held_out(np.array([1]), 0.2, seed=1)
