"""The source of semantic codes."""

from __future__ import annotations

import pytest
import torch

from legorec.batch import ItemCodes
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.sources.codes import CodesSource

CODES = ItemCodes(torch.tensor([[0, 2, 1], [3, 0, 0], [0, 2, 0], [1, 1, 1]]), (4, 5, 2))


def source(dropout: float = 0.0) -> CodesSource:
    torch.manual_seed(0)
    return CodesSource(CODES, num_items=4, embed_dim=6, dropout=dropout)


def test_an_item_is_a_vector_of_each_level() -> None:
    made = source()
    assert made.dim == 6 and made.field_kinds == ("category",) * 3 and made.learned.shape == (11, 6)
    states = made(torch.tensor([3, 0]))
    by_level = made.learned.split(CODES.sizes)
    expected = [by_level[level][code] for codes in ([1, 1, 1], [0, 2, 1]) for level, code in enumerate(codes)]
    assert torch.equal(states.values, torch.stack(expected))
    assert states.lengths.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_items_of_the_same_codes_are_alike_and_levels_are_apart() -> None:
    states = source()(torch.tensor([0, 2])).values.view(2, 3, 6)
    assert torch.equal(states[0, :2], states[1, :2]) and not torch.equal(states[0, 2], states[1, 2])
    assert not torch.equal(states[0, 0], states[1, 2])  # code 0 of the first level and of the last


def test_item_encoders_of_tokens_read_it() -> None:
    made = source()
    encoder = NAMLItemEncoder(made.dim, list(made.field_kinds), hidden_dim=8)
    assert encoder(made(torch.arange(4))).shape == (4, 8)


def test_codes_are_no_part_of_the_state() -> None:
    assert list(source().state_dict()) == ["learned"]
    assert all(row.dtype == torch.int64 for row in source().half().buffers())


def test_dropout_acts_in_training_alone() -> None:
    made = source(dropout=0.5)
    assert (made(torch.arange(4)).values == 0).any()
    assert not (made.eval()(torch.arange(4)).values == 0).any()


def test_it_is_built_without_memory() -> None:
    with torch.device("meta"):
        assert source().learned.device.type == "meta"


def test_codes_of_another_number_of_items_are_refused() -> None:
    with pytest.raises(ValueError, match="`codes` must have one row for each of the 5 items, got 4"):
        CodesSource(CODES, num_items=5)
