"""Fields joined end to end, against the fields of each item read one by one."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenStates
from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.item_encoders.fields import FieldsItemEncoder
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.sources.table import TableSource

KINDS = ("text", "category", "categories", "number")
LENGTHS = [[3, 1, 2, 1], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [5, 1, 0, 1]]


def states(lengths: list[list[int]], width: int = 6) -> TokenStates:
    generator = torch.Generator().manual_seed(0)
    total = sum(map(sum, lengths))
    return TokenStates(torch.randn(total, width, generator=generator), torch.tensor(lengths))


def expected(encoder: FieldsItemEncoder, given: TokenStates) -> np.ndarray:
    """Row by row in numpy."""
    weight = encoder.project.weight.detach().numpy().astype(np.float64)
    bias = encoder.project.bias.detach().numpy().astype(np.float64)
    values, place, vectors = given.values.numpy().astype(np.float64), 0, []
    for lengths in given.lengths.tolist():
        parts = []
        for length in lengths:
            tokens = values[place : place + length]
            parts.append(tokens.mean(0) if length else np.zeros(values.shape[1]))
            place += length
        vectors.append(weight @ np.concatenate(parts) + bias if sum(lengths) else np.zeros(len(bias)))
    return np.array(vectors)


@pytest.mark.parametrize("lengths", [LENGTHS, [LENGTHS[0], LENGTHS[4]], [[1] * 4] * 3, [[2] * 4] * 3])
def test_formula(lengths):
    encoder = FieldsItemEncoder(6, KINDS, hidden_dim=5).eval()
    given = states(lengths)
    found = encoder(given).detach().numpy()
    np.testing.assert_allclose(found, expected(encoder, given), rtol=1e-5, atol=1e-6)


def test_dropout_is_for_training_only():
    encoder, given = FieldsItemEncoder(6, KINDS, hidden_dim=5, dropout=0.5), states(LENGTHS)
    assert not torch.equal(encoder(given), encoder(given))
    assert not encoder(given)[1].any()
    encoder.eval()
    assert torch.equal(encoder(given), encoder(given))


def test_a_missing_number_is_the_mean_number():
    """Both are zero in their place."""
    numbers = Ragged.from_lists([[1], [], [3], [2]], np.float32)
    colours = Ragged.from_lists([[0], [1], [0], [1]])
    fields = [CatalogField("colour", "category", "colour", 2, 1), CatalogField.of_numbers("size", numbers)]
    source = TableSource(Catalog(fields, [colours, numbers]), 6)
    vectors = FieldsItemEncoder(6, source.field_kinds, hidden_dim=5).eval()(source(torch.arange(4)))
    torch.testing.assert_close(vectors[1], vectors[3])
    assert not torch.allclose(vectors[0], vectors[2])


def test_naml_reads_a_number_as_it_reads_a_category():
    encoder = NAMLItemEncoder(6, ("number", "category"), hidden_dim=5).eval()
    encoder.views[1].load_state_dict(encoder.views[0].state_dict())
    given = states([[1, 0], [0, 1], [0, 0]])
    given.values[1] = given.values[0]
    vectors = encoder(given)
    torch.testing.assert_close(vectors[0], vectors[1])
    assert vectors[0].any() and not vectors[2].any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"field_kinds": ()}, "`field_kinds` must name at least one field, got none"),
        ({"field_kinds": KINDS, "dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        FieldsItemEncoder(6, **arguments)
