"""Token states read by item, by field and padded all say the same; batches move whole."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from legorec.batch import ClickBatch, Ranking, TokenStates
from tests.support import small

LENGTHS = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 4], [0, 1, 1]])


def states(lengths: torch.Tensor = LENGTHS) -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    return TokenStates(torch.randn(int(lengths.sum()), 5, generator=generator), lengths)


def parts(found: TokenStates) -> list[list[torch.Tensor]]:
    """The packed values cut one by one: item, then field."""
    pieces = iter(found.values.split(found.lengths.reshape(-1).tolist()))
    return [[next(pieces) for _ in range(found.lengths.shape[1])] for _ in range(len(found.lengths))]


@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[:, :1], LENGTHS[:0], LENGTHS[1:2]])
def test_fields_are_cut_out_item_by_item(lengths):
    found = states(lengths)
    expected = parts(found)
    by_fields = found.by_fields()
    assert len(by_fields) == lengths.shape[1]
    for index, (values, rows) in enumerate(by_fields):
        wanted = [item[index] for item in expected]
        assert torch.equal(values, torch.cat([found.values[:0], *wanted]))
        assert rows.lengths.tolist() == [len(piece) for piece in wanted]
        selected, selected_lengths = found.select(index)
        assert torch.equal(selected, values) and torch.equal(selected_lengths, lengths[:, index])


@pytest.mark.parametrize("field_index", [None, 0, 1, 2])
def test_padded_holds_each_row_and_zeros(field_index):
    found = states()
    padded, mask = found.padded(field_index)
    for row, item in enumerate(parts(found)):
        wanted = torch.cat(item) if field_index is None else item[field_index]
        assert torch.equal(padded[row, : len(wanted)], wanted)
        assert not padded[row, len(wanted) :].any()
        assert mask[row].tolist() == [place < len(wanted) for place in range(mask.shape[1])]


def test_segments_by_item_and_by_field():
    found = states()
    assert found.by_item.lengths.tolist() == LENGTHS.sum(1).tolist()
    assert found.by_field.lengths.tolist() == LENGTHS.reshape(-1).tolist()


def test_gradient_reaches_each_value_once():
    found = states()
    values = found.values.clone().requires_grad_()
    weights = [torch.full((5,), float(index + 1)) for index in range(3)]
    by_fields = TokenStates(values, LENGTHS).by_fields()
    sum(((part * weight).sum() for (part, _), weight in zip(by_fields, weights, strict=True))).backward()
    field_of_value = np.repeat(np.tile([1.0, 2.0, 3.0], len(LENGTHS)), LENGTHS.reshape(-1).numpy())
    assert values.grad[:, 0].tolist() == field_of_value.tolist()


def test_batch_moves_whole_but_items_stay_on_the_host():
    batch = small.stream().batch(3)
    moved = batch.to("meta")
    assert moved.items is batch.items and moved.number == batch.number == 3
    for kept, given in zip(moved.history_on_host, (batch.history, batch.history_mask), strict=True):
        assert kept is given
    assert all(map(torch.equal, batch.history_on_host, moved.to("meta").history_on_host))
    apart = ("items", "number", "kept", "placed")
    others = [part.name for part in fields(ClickBatch) if part.name not in apart]
    assert len(others) == 8
    assert moved.items_there.device.type == "meta" and batch.items_there is batch.items
    for name in others:
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(batch, name).shape


def test_ranking_needs_one_row_per_candidate():
    with pytest.raises(ValueError, match="must have one row per candidate, got 2, 3 and 2"):
        Ranking(np.zeros(2), np.zeros(3), np.zeros(2))


def test_a_ranking_takes_columns_in_their_order():
    pandas = pytest.importorskip("pandas")
    plain = Ranking(np.array([0, 0, 1]), np.array([1, 0, 1]), np.array([0.1, 0.2, 0.3]))
    index = [2, 0, 1]
    framed = Ranking(*(pandas.Series(each, index=index) for each in (plain.group, plain.label, plain.score)))
    for name in ("group", "label", "score"):
        np.testing.assert_array_equal(getattr(framed, name), getattr(plain, name))
    assert np.array_equal(Ranking([0], [1], [0.5]).score, [0.5])


@pytest.mark.parametrize("given", [{0: 1.0, 1: 2.0}, {1.0, 2.0}, 3.0])
def test_a_ranking_refuses_what_has_no_order(given):
    with pytest.raises(ValueError, match="`score` must be one number for each row, in order; got a"):
        Ranking(np.zeros(2), np.zeros(2), given)


def test_padded_states_are_packed_by_their_mask() -> None:
    values, mask = torch.randn(3, 4, 2), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]).bool()
    states = TokenStates.from_padded(values, mask)
    assert states.lengths.tolist() == [[2], [0], [2]]
    assert torch.equal(states.values, torch.stack([values[0, 0], values[0, 1], values[2, 1], values[2, 3]]))
    again, there = TokenStates.from_padded(*states.padded()).padded()
    assert torch.equal(again, states.padded()[0]) and torch.equal(there, states.padded()[1])
    with pytest.raises(ValueError, match=r"a mask \(N, L\) are wanted, got \(3, 4, 2\) and \(3, 3\)"):
        TokenStates.from_padded(values, mask[:, :3])
