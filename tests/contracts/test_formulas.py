"""NAML and NRMS against their papers' equations, written out row by row with torch's own layers."""

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.item_encoders.nrms import NRMSItemEncoder
from legorec.item_encoders.single import SingleItemEncoder
from legorec.nn.attention import AdditiveAttention, MultiHeadSelfAttention
from legorec.predictors.dot import DotPredictor
from legorec.user_encoders.naml import NAMLUserEncoder
from legorec.user_encoders.nrms import NRMSUserEncoder

E, D = 6, 8
KINDS = ["text", "category", "text", "categories"]
LENGTHS = torch.tensor([[4, 1, 7, 2], [0, 1, 3, 0], [1, 0, 0, 1], [0, 0, 0, 0], [2, 1, 1, 3]])


@pytest.fixture
def states() -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    return TokenStates(torch.randn(int(LENGTHS.sum()), E, generator=generator, dtype=torch.float64), LENGTHS)


def fields_of(states: TokenStates, item: int) -> list[Tensor]:
    """The token vectors of an item, field by field."""
    rows = states.values.split(states.lengths.sum(1).tolist())
    return list(rows[item].split(states.lengths[item].tolist()))


def weighted_mean(attention: AdditiveAttention, row_LD: Tensor) -> Tensor:
    """a_i = q . tanh(V h_i + v); alpha = softmax(a); sum of alpha_i h_i."""
    logits = [attention.query @ torch.tanh(attention.hidden(each)) for each in row_LD]
    weights = torch.stack(logits).exp() / torch.stack(logits).exp().sum()
    return sum(weight * each for weight, each in zip(weights, row_LD, strict=True))


def self_attention(attention: MultiHeadSelfAttention, row_LE: Tensor) -> Tensor:
    """alpha_ij = softmax_j(e_i Q_k e_j); h_i = [V_k sum_j alpha_ij e_j]; Q_k = W_q' W_k / sqrt(d)."""
    width = attention.hidden_dim // attention.heads
    queries, keys, values = attention.qkv.weight.split(attention.hidden_dim)
    heads = []
    for query, key, value in zip(queries.split(width), keys.split(width), values.split(width), strict=True):
        form = query.T @ key / width**0.5
        weights = (row_LE @ form @ row_LE.T).softmax(1)
        heads.append(weights @ row_LE @ value.T)
    return torch.cat(heads, 1)


@pytest.mark.parametrize("rectified", [False, True])
def test_naml_item_encoder(states, rectified):
    encoder = NAMLItemEncoder(E, KINDS, D, kernel_size=3, attention_dim=5, rectified=rectified)
    encoder.double().eval()
    activation = torch.relu if rectified else torch.clone
    for item, vector in enumerate(encoder(states)):
        views = []
        for view, kind, tokens in zip(encoder.views, KINDS, fields_of(states, item), strict=True):
            if len(tokens) == 0:
                continue
            if kind == "text":
                conv = nn.Conv1d(E, D, 3, padding=1).double()
                conv.weight.data = view.conv.weight.permute(2, 1, 0)
                conv.bias.data = view.conv.bias
                views.append(weighted_mean(view.pool, activation(conv(tokens.T[None]))[0].T))
            else:
                views.append(activation(view.dense(tokens)).mean(0))
        expected = weighted_mean(encoder.pool, torch.stack(views)) if views else torch.zeros(D).double()
        torch.testing.assert_close(vector, expected)


def test_naml_with_one_field_has_no_second_level(states):
    encoder = NAMLItemEncoder(E, ["text"], hidden_dim=D).double().eval()
    assert not any(name.startswith("pool") for name, _ in encoder.named_parameters())
    whole = TokenStates(states.values, states.lengths.sum(1, keepdim=True))
    assert encoder(whole).shape == (5, D)


def test_nrms_item_encoder_joins_the_fields(states):
    encoder = NRMSItemEncoder(E, hidden_dim=D, heads=2, attention_dim=5).double().eval()
    for item, vector in enumerate(encoder(states)):
        tokens = torch.cat(fields_of(states, item))
        expected = torch.zeros(D).double()
        if len(tokens):
            expected = weighted_mean(encoder.pool, self_attention(encoder.tokens, tokens))
        torch.testing.assert_close(vector, expected)


def test_single_item_encoder_takes_the_first_token(states):
    same, projected = SingleItemEncoder(E, E).double(), SingleItemEncoder(E, D).double()
    for item, vector in enumerate(same(states)):
        tokens = torch.cat(fields_of(states, item))
        assert torch.equal(vector, tokens[0] if len(tokens) else torch.zeros(E).double())
    torch.testing.assert_close(projected(states)[0], projected.project(states.values[0]))


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_user_encoders(name):
    torch.manual_seed(0)
    clicks = torch.randn(4, 6, D, dtype=torch.float64)
    lengths = [3, 6, 1, 0]
    mask = torch.arange(6) < torch.tensor(lengths).unsqueeze(1)
    if name == "naml":
        encoder = NAMLUserEncoder(D, attention_dim=5).double().eval()
    else:
        encoder = NRMSUserEncoder(D, heads=4, attention_dim=5).double().eval()
    for row, length, user in zip(clicks, lengths, encoder(clicks, mask), strict=True):
        seen = row[:length]
        if length == 0:
            assert not user.any()
            continue
        if name == "nrms":
            seen = self_attention(encoder.clicks, seen)
        torch.testing.assert_close(user, weighted_mean(encoder.pool, seen))


def test_dot_predictor():
    user, candidates = torch.randn(3, D), torch.randn(3, 4, D)
    torch.testing.assert_close(DotPredictor()(user, candidates), torch.einsum("bd,bkd->bk", user, candidates))


@pytest.mark.parametrize(
    "construct, message",
    [
        (
            lambda: NRMSItemEncoder(16, hidden_dim=64, heads=5),
            r"`heads` must divide `hidden_dim` \(64\), got 5",
        ),
        (lambda: NRMSUserEncoder(64, heads=0), r"`heads` must divide `input_dim` \(64\), got 0"),
        (
            lambda: NAMLItemEncoder(16, ["numbers"]),
            r"`field_kinds` must be some of text, category, categories, number",
        ),
        (lambda: NAMLItemEncoder(16, []), r"`field_kinds` must be some of .*, got \[\]"),
        (
            lambda: NAMLItemEncoder(16, ["text"], kernel_size=4),
            "`kernel_size` must be odd and positive, got 4",
        ),
        (
            lambda: NAMLItemEncoder(16, ["text"], dropout=1.5),
            "`dropout` must be at least 0 and below 1, got 1.5",
        ),
    ],
)
def test_refusals(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
