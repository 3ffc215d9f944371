"""Packed and padded rows give the same, and what it should be."""

import numpy as np
import pytest
import torch

from legorec.nn.rows import last, mean, padded, recency, rows_of, spread, token_places, unpadded
from legorec.nn.segments import Segments

LENGTHS = [3, 0, 1, 5]
MASK = torch.arange(6) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.fixture
def forms():
    """The same histories packed, and padded to 6 with zeros."""
    values = torch.randn(4, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    packed, rows = rows_of(values.masked_fill(~MASK.unsqueeze(2), 1e9), MASK)
    return (packed, rows), (values.masked_fill(~MASK.unsqueeze(2), 0.0), MASK)


def test_what_looks_along_a_row(forms):
    (packed, rows), _ = forms
    by_row = packed.split(LENGTHS)
    for values, form in forms:
        for given, expected in zip(last(values, form), by_row, strict=True):
            assert torch.equal(given, expected[-1] if len(expected) else torch.zeros(2).double())
        for given, expected in zip(mean(values, form), by_row, strict=True):
            torch.testing.assert_close(given, expected.mean(0) if len(expected) else torch.zeros(2).double())
        wide = values.unsqueeze(-2) * torch.tensor([[1.0], [-2.0], [3.0]])
        torch.testing.assert_close(mean(wide, form)[:, 1], -2.0 * mean(values, form))
        places = recency(form, values.device)
        assert (places if form is rows else places[MASK]).tolist() == [2, 1, 0, 0, 4, 3, 2, 1, 0]


def test_back_and_forth(forms):
    (packed, rows), (values, mask) = forms
    again, its_mask = padded(packed, rows)
    assert torch.equal(again, values[:, :5]) and torch.equal(its_mask, mask[:, :5])
    assert torch.equal(unpadded(again, rows), packed)
    assert padded(values, mask)[0] is values and unpadded(values, mask) is values
    vectors = torch.randn(4, 3, 2)
    assert torch.equal(spread(vectors, rows), vectors[[0, 0, 0, 2, 3, 3, 3, 3, 3]])
    assert torch.equal(spread(vectors, mask), vectors[:, None])


def test_no_place_at_all():
    assert last(torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 3
    assert mean(torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 3


def test_places_of_tokens():
    rows = Segments(torch.tensor(LENGTHS))
    places = token_places(rows, 5, torch.device("cpu"))
    assert places.tolist() == np.concatenate([np.arange(length) for length in LENGTHS]).tolist()
    message = "`max_length` must be at least 5, the tokens of the longest item, got 4"
    with pytest.raises(ValueError, match=message):
        token_places(rows, 4, torch.device("cpu"))
