"""Sequences of tokens, of clicks, and of the tokens of clicks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec.nn.fastformer import Fastformer
from legorec.nn.rows import rows_of
from legorec.nn.sequence import ClickSequence, Positions, TokenHistory, TokenSequence, flat
from legorec.nn.transformer import Transformer
from tests.support.torch_layers import moved, weighted_mean

BODIES = [Transformer(8, 2, 2, 2, 0.0), Fastformer(8, 2, 2, 2, 0.0)]


class Same(nn.Module):
    """Layers that do nothing."""

    def forward(self, values: Tensor, rows: object) -> Tensor:
        return values


def test_a_place_beyond_the_last_takes_the_last():
    positions = Positions(3, 2)
    assert torch.equal(positions(torch.tensor([-1, 0, 2, 9])), positions.table[[0, 0, 2, 2]])
    assert Positions(400, 64).table.std().item() == pytest.approx(0.02, rel=0.1)


def test_flat_by_hand():
    """Two users: items of 2, 0 and 1 tokens; one of 3."""
    rows, token_at, separator_at, later = flat(np.array([[2, 0, 1], [3, 0, 0]]))
    assert rows.lengths.tolist() == [5, 4]
    assert token_at.tolist() == [0, 1, 3, 5, 6, 7]
    assert separator_at.tolist() == [2, 4, 8]
    assert later.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_flat_of_nothing():
    for shape in ((2, 0), (0, 3), (2, 3)):
        rows, *places = flat(np.zeros(shape, dtype=np.int64))
        assert rows.lengths.tolist() == [0] * shape[0] and not any(len(each) for each in places)


@pytest.mark.parametrize("layers", BODIES)
def test_histories_packed_and_padded(layers):
    sequence = moved(ClickSequence(8, layers, max_history=4, dropout=0.0, attention_dim=5))
    mask = torch.arange(7) < torch.tensor([3, 0, 7, 1]).unsqueeze(1)
    clicks = torch.randn(4, 7, 8, dtype=torch.float64).masked_fill(~mask.unsqueeze(2), 0.0)
    torch.testing.assert_close(sequence(clicks, mask), sequence(*rows_of(clicks, mask)))


def test_a_history_is_told_by_place_from_the_latest():
    sequence = moved(ClickSequence(8, Same(), max_history=3, dropout=0.0, attention_dim=5))
    clicks = torch.randn(1, 5, 8, dtype=torch.float64)
    table = sequence.positions.table
    placed = clicks[0] + table[[2, 2, 2, 1, 0]]
    mask = torch.ones(1, 5, dtype=torch.bool)
    torch.testing.assert_close(sequence(*rows_of(clicks, mask))[0], weighted_mean(sequence.pool, placed))


def test_tokens_of_a_history_by_hand():
    history = moved(TokenHistory(6, 8, 8, Same(), 2, 3, None, dropout=0.0, attention_dim=5))
    lengths = torch.tensor([[2, 0, 1, 1], [0, 0, 0, 0], [3, 0, 0, 0]])
    values = torch.randn(7, 6, dtype=torch.float64)
    users = history(values, lengths)
    tokens, separator = history.project(values), history.separator
    place, click = history.places.table, history.clicks.table
    first = [
        *(tokens[0] + place[0] + click[1], tokens[1] + place[1] + click[1], separator + click[1]),
        *(tokens[2] + place[0] + click[1], separator + click[1]),
        *(tokens[3] + place[0] + click[0], separator + click[0]),
    ]
    third = [*(tokens[4 + step] + place[step] + click[0] for step in range(3)), separator + click[0]]
    torch.testing.assert_close(users[0], weighted_mean(history.pool, torch.stack(first)))
    assert not users[1].any()
    torch.testing.assert_close(users[2], weighted_mean(history.pool, torch.stack(third)))


def test_refusals():
    with pytest.raises(ValueError, match="`max_length` must be at least 1, got 0"):
        TokenSequence(8, 8, Same(), 0, None, dropout=0.0, attention_dim=5)
    with pytest.raises(ValueError, match="`max_length` must be at least 1, got 0"):
        TokenHistory(8, 8, 8, Same(), 3, 0, None, dropout=0.0, attention_dim=5)
    for made in (
        lambda: TokenSequence(8, 8, Same(), 2, 3, dropout=0.0, attention_dim=5),
        lambda: TokenHistory(8, 8, 8, Same(), 3, 2, 3, dropout=0.0, attention_dim=5),
    ):
        with pytest.raises(ValueError, match="`max_length` must be at least 3, the tokens of the longest"):
            made()
    history = TokenHistory(8, 8, 8, Same(), 3, 2, None, dropout=0.0, attention_dim=5)
    with pytest.raises(ValueError, match="`max_length` must be at least 3, the tokens of the longest item"):
        history(torch.zeros(3, 8), torch.tensor([[3]]))
