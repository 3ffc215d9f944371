"""``cnn`` and ``cnn_cat`` item by item, with torch's own convolution."""

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.item_encoders.cnn import CNNItemEncoder, item_by_item
from legorec.item_encoders.cnn_cat import CNNCatItemEncoder
from legorec.nn.attention import AdditiveAttention
from legorec.nn.conv import PackedConv1d

E, D = 6, 8
KINDS = ["category", "text", "number", "text", "categories"]
LENGTHS = torch.tensor([[1, 4, 1, 7, 2], [1, 0, 0, 3, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 2, 1, 1, 3]])


@pytest.fixture
def states() -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    return TokenStates(torch.randn(int(LENGTHS.sum()), E, generator=generator, dtype=torch.float64), LENGTHS)


def fields_of(states: TokenStates, item: int) -> list[Tensor]:
    """The token vectors of an item, field by field."""
    rows = states.values.split(states.lengths.sum(1).tolist())
    return list(rows[item].split(states.lengths[item].tolist()))


def convolved(packed: PackedConv1d, tokens: Tensor, rectified: bool = True) -> Tensor:
    if len(tokens) == 0:
        return tokens.new_zeros(0, D)
    conv = nn.Conv1d(E, D, 3, padding=1).double()
    conv.weight.data = packed.weight.permute(2, 1, 0)
    conv.bias.data = packed.bias
    seen = conv(tokens.T[None])[0].T
    return torch.relu(seen) if rectified else seen


def weighted_mean(attention: AdditiveAttention, row: Tensor) -> Tensor:
    weights = torch.exp(torch.tanh(row @ attention.hidden.weight.T + attention.hidden.bias) @ attention.query)
    return (weights / weights.sum()) @ row if len(row) else row.new_zeros(row.shape[1])


@pytest.mark.parametrize("rectified", [False, True])
def test_cnn_weighs_the_tokens_of_all_fields_together(states, rectified):
    torch.manual_seed(0)
    encoder = CNNItemEncoder(E, KINDS, D, attention_dim=5, rectified=rectified).double().eval()
    for item, vector in enumerate(encoder(states)):
        tokens = [
            convolved(view, field, rectified) if kind == "text" else view(field)
            for kind, view, field in zip(KINDS, encoder.views, fields_of(states, item), strict=True)
        ]
        torch.testing.assert_close(vector, weighted_mean(encoder.pool, torch.cat(tokens)))
    assert encoder.output_dim == D and not encoder(states)[3].any()


def test_cnn_of_one_field(states):
    torch.manual_seed(0)
    encoder = CNNItemEncoder(E, ["text"], D, attention_dim=5, rectified=True).double().eval()
    whole = TokenStates(states.values, states.lengths.sum(1, keepdim=True))
    expected = [
        weighted_mean(encoder.pool, convolved(encoder.views[0], fields_of(whole, item)[0]))
        for item in range(5)
    ]
    torch.testing.assert_close(encoder(whole), torch.stack(expected))


def test_field_by_field_and_back(states):
    parts = torch.cat([values for values, _ in states.by_fields()])
    assert torch.equal(item_by_item(parts, states.lengths), states.values)


def test_cnn_cat_joins_encoded_texts_and_embeddings(states):
    torch.manual_seed(0)
    encoder = CNNCatItemEncoder(E, KINDS, hidden_dim=D, attention_dim=5).double().eval()
    assert encoder.output_dim == 2 * D + 3 * E
    for item, vector in enumerate(encoder(states)):
        views = []
        for kind, view, field in zip(KINDS, encoder.views, fields_of(states, item), strict=True):
            if kind == "text":
                views.append(weighted_mean(view.pool, convolved(view.conv, field)))
            else:
                views.append(field.mean(0) if len(field) else torch.zeros(E).double())
        torch.testing.assert_close(vector, torch.cat(views))


@pytest.mark.parametrize("encoder", [CNNItemEncoder, CNNCatItemEncoder])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"field_kinds": ["text", "layer"]},
            r"`field_kinds` must be some of text, category, categories, number, got \['text', 'layer'\]",
        ),
        ({"field_kinds": []}, r"`field_kinds` must be some of .*, got \[\]"),
        ({"field_kinds": ["text"], "kernel_size": 2}, "`kernel_size` must be odd and positive, got 2"),
        ({"field_kinds": ["text"], "dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0"),
    ],
)
def test_refusals(encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        encoder(E, **arguments)
