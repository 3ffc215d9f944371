"""``attention`` and ``additive`` user by user."""

import pytest
import torch
from torch import nn

from legorec.nn.attention import AdditiveAttention
from legorec.user_encoders.additive import AdditiveUserEncoder
from legorec.user_encoders.attention import AttentionUserEncoder
from legorec.user_encoders.naml import NAMLUserEncoder

D = 8
LENGTHS = [3, 5, 0, 1]
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.fixture(params=[1e4, torch.inf, torch.nan])
def clicks(request) -> torch.Tensor:
    drawn = torch.randn(4, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.where(MASK.unsqueeze(2), drawn, request.param)


def weighted_mean(attention: AdditiveAttention, row: torch.Tensor) -> torch.Tensor:
    weights = torch.exp(torch.tanh(row @ attention.hidden.weight.T + attention.hidden.bias) @ attention.query)
    return (weights / weights.sum()) @ row


def test_attention_is_torchs_with_its_output_projection(clicks):
    torch.manual_seed(0)
    encoder = AttentionUserEncoder(D, heads=2, attention_dim=5).double().eval()
    theirs = nn.MultiheadAttention(D, 2, batch_first=True).double()
    theirs.in_proj_weight.data = encoder.clicks.qkv.weight.data
    theirs.in_proj_bias.data.zero_()
    theirs.out_proj = encoder.project
    for row, length, user in zip(clicks, LENGTHS, encoder(clicks, MASK), strict=True):
        if length == 0:
            assert not user.any()
            continue
        seen = row[None, :length]
        mixed = theirs(seen, seen, seen, need_weights=False)[0][0]
        torch.testing.assert_close(user, weighted_mean(encoder.pool, mixed))


def test_additive_is_naml_by_the_name_of_its_part(clicks):
    torch.manual_seed(0)
    encoder, naml = AdditiveUserEncoder(D, attention_dim=5).double(), NAMLUserEncoder(D, attention_dim=5)
    naml.double().load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(clicks, MASK), naml(clicks, MASK))
    for row, length, user in zip(clicks, LENGTHS, encoder(clicks, MASK), strict=True):
        if length:
            torch.testing.assert_close(user, weighted_mean(encoder.pool, row[:length]))


def test_refusals():
    with pytest.raises(ValueError, match=r"`heads` must divide `input_dim` \(8\), got 3"):
        AttentionUserEncoder(D, heads=3)
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and below 1, got 1.0"):
        AttentionUserEncoder(D, dropout=1.0)
