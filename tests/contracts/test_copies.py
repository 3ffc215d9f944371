"""A deep copy and a pickle of a model score as it does, and have nothing in common with it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from legorec.recommender import Recommender
from tests.contracts.test_grid import Bricks, Combination, a_few, one_batch, said


def scores(model: Recommender) -> Tensor:
    with torch.no_grad():
        return model.eval()(one_batch(True, 2).only)


def spoil(model: Recommender) -> None:
    """Change every weight, frozen ones too."""
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.ones((), dtype=value.dtype))


@pytest.mark.parametrize("chosen", a_few(36), ids=said)
def test_a_copy_and_a_pickle_score_the_same_and_are_their_own(chosen: Combination) -> None:
    model = Bricks(*chosen[:2]).model(chosen)
    wanted = scores(model)
    again = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    spoil(again[0])
    assert torch.equal(scores(model), wanted)
    spoil(model)
    assert not torch.equal(scores(model), wanted)
    for each in again[1:]:
        assert torch.equal(scores(each), wanted)
