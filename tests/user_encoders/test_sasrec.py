"""SASRec against its formulas, history by history."""

import pytest
import torch
from torch import Tensor

from legorec.nn.rows import rows_of
from legorec.user_encoders.sasrec import Block, SASRecUserEncoder
from tests.support.torch_layers import moved

LENGTHS = [3, 0, 7, 1]


def clicks() -> tuple[Tensor, Tensor]:
    mask = torch.arange(8) < torch.tensor(LENGTHS).unsqueeze(1)
    vectors = torch.randn(4, 8, 8, dtype=torch.float64)
    return vectors.masked_fill(~mask.unsqueeze(2), 1e4), mask


def by_hand(block: Block, states: Tensor) -> Tensor:
    """x + attention(norm(x)), then x + dense(norm(x))."""
    attention = block.attention
    query, key, value = (block.attention_norm(states) @ attention.qkv.weight.T).chunk(3, 1)
    width = query.shape[1] // attention.heads
    mixed = torch.zeros_like(states)
    for place in range(len(states)):
        for part in (slice(start, start + width) for start in range(0, query.shape[1], width)):
            logits = key[: place + 1, part] @ query[place, part] / width**0.5
            mixed[place, part] = logits.softmax(0) @ value[: place + 1, part]
    states = states + mixed
    inner, _, outer = block.dense
    return states + outer(inner(block.dense_norm(states)).clamp(min=0))


@pytest.mark.parametrize("heads", [1, 2])
def test_formula(heads):
    encoder = moved(SASRecUserEncoder(8, max_history=5, heads=heads))
    vectors, mask = clicks()
    users = encoder(vectors, mask)
    for row, length, user in zip(vectors, LENGTHS, users, strict=True):
        if length == 0:
            assert not user.any()
            continue
        states = row[:length] + encoder.positions.table[[min(4, step) for step in range(length)][::-1]]
        for block in encoder.blocks:
            states = by_hand(block, states)
        torch.testing.assert_close(user, encoder.norm(states[-1]))
    padded = vectors.masked_fill(~mask.unsqueeze(2), 0.0)
    torch.testing.assert_close(encoder._encode(padded, mask), users)


def test_a_click_does_not_see_those_after_it():
    block = moved(Block(8, heads=2, dropout=0.0))
    vectors = torch.randn(1, 6, 8, dtype=torch.float64)
    changed = torch.cat([vectors[:, :4], torch.randn(1, 2, 8, dtype=torch.float64)], 1)
    one, other = (block(*rows_of(each, torch.ones(1, 6, dtype=torch.bool))) for each in (vectors, changed))
    torch.testing.assert_close(one[:4], other[:4])
    assert not torch.allclose(one[4:], other[4:])


def test_refusals():
    with pytest.raises(ValueError, match=r"`heads` must divide `input_dim` \(64\), got 5"):
        SASRecUserEncoder(64, 5, heads=5)
    with pytest.raises(ValueError, match="`layers` must be at least 1, got 0"):
        SASRecUserEncoder(64, 5, layers=0)
