"""``gru`` item by item, with torch's own layers."""

import pytest
import torch

from legorec.batch import TokenStates
from legorec.item_encoders.gru import GRUItemEncoder

E, D = 6, 8
LENGTHS = torch.tensor([[4, 7], [0, 3], [1, 0], [0, 0], [2, 1]])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_last_state_projected(num_layers):
    torch.manual_seed(0)
    states = TokenStates(torch.randn(int(LENGTHS.sum()), E, dtype=torch.float64), LENGTHS)
    encoder = GRUItemEncoder(E, hidden_dim=D, num_layers=num_layers).double().eval()
    for row, vector in zip(states.values.split(LENGTHS.sum(1).tolist()), encoder(states), strict=True):
        last = encoder.tokens.layers(row[None])[0][0, -1] if len(row) else torch.zeros(D).double()
        torch.testing.assert_close(vector, encoder.project.weight @ last)


def test_order_matters():
    torch.manual_seed(0)
    values = torch.randn(4, E)
    encoder = GRUItemEncoder(E, hidden_dim=D).eval()
    one, other = (encoder(TokenStates(each, torch.tensor([[4]]))) for each in (values, values.flip(0)))
    assert not torch.allclose(one, other)


def test_refusals():
    with pytest.raises(ValueError, match="`num_layers` must be at least 1, got 0"):
        GRUItemEncoder(E, num_layers=0)
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and below 1, got 2"):
        GRUItemEncoder(E, dropout=2.0)
