"""User encoders of transformer and Fastformer layers, over clicks and over the tokens of clicks."""

import pytest
import torch

from legorec.batch import TokenStates
from legorec.nn.rows import rows_of
from legorec.user_encoders.fastformer import FastformerUserEncoder
from legorec.user_encoders.flatten_fastformer import FlattenFastformerUserEncoder
from legorec.user_encoders.flatten_transformer import FlattenTransformerUserEncoder
from legorec.user_encoders.transformer import TransformerUserEncoder
from tests.support import torch_layers
from tests.support.torch_layers import moved, weighted_mean

SMALL = {"layers": 2, "heads": 2, "ffn_factor": 3, "attention_dim": 5}
LENGTHS = [3, 0, 5, 1]
FLATTEN = [FlattenTransformerUserEncoder, FlattenFastformerUserEncoder]


def clicks() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.arange(6) < torch.tensor(LENGTHS).unsqueeze(1)
    vectors = torch.randn(4, 6, 8, dtype=torch.float64)
    return vectors.masked_fill(~mask.unsqueeze(2), 1e4), mask


def test_transformer_is_that_of_torch_on_each_history():
    encoder = moved(TransformerUserEncoder(8, max_history=4, **SMALL))
    run = torch_layers.transformer(encoder.clicks.layers.layers)
    vectors, mask = clicks()
    for row, length, user in zip(vectors, LENGTHS, encoder(vectors, mask), strict=True):
        if length == 0:
            assert not user.any()
            continue
        placed = row[:length] + encoder.clicks.positions.table[[min(3, step) for step in range(length)][::-1]]
        torch.testing.assert_close(user, weighted_mean(encoder.clicks.pool, run(placed)))


@pytest.mark.parametrize("encoder_class", [TransformerUserEncoder, FastformerUserEncoder])
def test_order_matters(encoder_class):
    encoder = moved(encoder_class(8, max_history=4, **SMALL))
    vectors, mask = clicks()
    turned = encoder(vectors[:1, :3].flip(1), mask[:1, :3])
    assert not torch.allclose(turned, encoder(vectors[:1, :3], mask[:1, :3]), atol=1e-3)


def test_fastformer_runs_its_layers_between_places_and_mean():
    encoder = moved(FastformerUserEncoder(8, max_history=4, **SMALL))
    vectors, mask = clicks()
    user = encoder(vectors[3:, :1], mask[3:, :1])[0]
    placed, rows = rows_of(vectors[3:, :1] + encoder.clicks.positions.table[0], mask[3:, :1])
    expected = encoder.clicks.layers(placed, rows)[0] @ encoder.clicks.pool.dense.weight.T
    torch.testing.assert_close(user, expected)


def token_states() -> TokenStates:
    """Two users of at most three clicks, in two fields; a click without a token among them."""
    lengths = torch.tensor([[2, 1], [0, 0], [1, 1], [0, 4], [0, 0], [0, 0]])
    return TokenStates(torch.randn(9, 6, dtype=torch.float64), lengths)


@pytest.mark.parametrize("encoder_class", FLATTEN)
def test_flattened_history_is_one_sequence(encoder_class):
    encoder = moved(encoder_class(6, 10, max_history=3, hidden_dim=8, max_length=4, **SMALL))
    states = token_states()
    unused = torch.full((2, 3, 10), torch.nan, dtype=torch.float64)
    mask = torch.arange(3) < torch.tensor([3, 1]).unsqueeze(1)
    users = encoder(unused, mask, states)
    expected = encoder.tokens(states.values, torch.tensor([[3, 0, 2], [4, 0, 0]]))
    torch.testing.assert_close(users, expected)
    # The click without a token is not there, and a user does not depend on the other.
    alone = TokenStates(states.values[:5], states.lengths[[0, 2]])
    torch.testing.assert_close(encoder(unused[:1, :2], mask[:1, :2], alone), users[:1])


@pytest.mark.parametrize("encoder_class", FLATTEN)
def test_tokens_of_one_click_see_those_of_another(encoder_class):
    encoder = moved(encoder_class(6, 10, max_history=3, hidden_dim=8, max_length=4, **SMALL))
    states = token_states()
    values = states.values.requires_grad_()
    lengths = states.lengths.sum(1).view(2, 3)
    seen = []
    encoder.tokens.pool.attention.packed = lambda out, rows: seen.append(out) or out[:2]
    encoder.tokens(values, lengths)
    (grad,) = torch.autograd.grad(seen[0][0].square().sum(), values)
    assert grad[:5].abs().sum(1).all() and not grad[5:].any()
    assert len(seen[0]) == 5 + 2 + 4 + 1  # every token, and a separator behind each item that has any


@pytest.mark.parametrize(
    "construct, message",
    [
        (lambda: TransformerUserEncoder(64, 5, heads=5), r"`heads` must divide `input_dim` \(64\), got 5"),
        (lambda: FastformerUserEncoder(64, 5, heads=5), r"`heads` must divide `input_dim` \(64\), got 5"),
        (lambda: TransformerUserEncoder(64, 5, layers=0), "`layers` must be at least 1, got 0"),
        *(
            (lambda each=each: each(6, 8, 5, heads=5), r"`heads` must divide `hidden_dim` \(64\), got 5")
            for each in FLATTEN
        ),
    ],
)
def test_refusals(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


@pytest.mark.parametrize("encoder_class", FLATTEN)
def test_an_item_too_long_is_refused(encoder_class):
    encoder = encoder_class(6, 10, max_history=3, hidden_dim=8, max_length=3, **SMALL).double()
    with pytest.raises(ValueError, match="`max_length` must be at least 4, the tokens of .*, got 3"):
        encoder(torch.zeros(2, 3, 10), torch.ones(2, 3, dtype=torch.bool), token_states())
