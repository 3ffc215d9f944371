"""Cosines beside a loop over impressions; equal items tie to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from legorec.data.ragged import Ragged
from legorec.data.tf_idf import tf_idf
from legorec.scorers.cosine import CosineBaseline, TfIdfBaseline, history_mean
from tests.support import small
from tests.support.ranking import rank


def by_hand(vectors: Tensor) -> np.ndarray:
    """(R,) cosine of each candidate and the mean of the history's vectors, each of length 1 first."""
    data, rows, found = small.impressions(), vectors.double().numpy(), []
    unit = rows / np.where((norm := np.linalg.norm(rows, axis=1)) > 0, norm, 1)[:, None]
    for number in range(len(data)):
        span = data.interactions.span[number]
        clicked = data.histories.clicks[data.histories.starts[span] : data.histories.stops[span]]
        user = unit[clicked].mean(0) if len(clicked) else np.zeros(rows.shape[1])
        user = user / (np.linalg.norm(user) or 1)
        found += [float(unit[item] @ user) for item in data.interactions.candidates[number]]
    return np.array(found)


def test_given_vectors_are_compared_with_the_mean_of_the_history():
    torch.manual_seed(0)
    vectors = torch.randn(small.NUM_ITEMS, 5) * torch.randint(0, 4, (small.NUM_ITEMS, 1))
    score = rank(CosineBaseline(vectors), small.impressions(), batch_size=9).score
    assert np.allclose(score, by_hand(vectors), atol=1e-6)
    assert (vectors == 0).all(1).any() and (score == 0).any(), "items without a vector, users without clicks"


def test_tf_idf_is_compared_in_the_same_way():
    weighted, data = tf_idf(small.catalog()), small.impressions()
    dense = torch.zeros(small.NUM_ITEMS, 45, dtype=torch.float64)
    dense[torch.from_numpy(weighted.tokens.rows), torch.from_numpy(weighted.tokens.values)] = (
        torch.from_numpy(weighted.weights)
    )
    for batch_size in (9, 1000):
        score = rank(TfIdfBaseline(weighted, 45), data, batch_size=batch_size).score
        assert np.allclose(score, by_hand(dense), atol=1e-6)
    assert score.max() > 0.5


@pytest.mark.parametrize("kind", ["vectors", "tf-idf"])
def test_items_that_say_the_same_have_the_same_score(kind):
    """Each candidate is item 2k or 2k + 1, and both are equal: their scores are equal to the last bit."""
    data, weighted = small.impressions(), tf_idf(small.catalog())
    twin = np.arange(small.NUM_ITEMS) // 2 * 2
    tokens = weighted.tokens.take(twin)
    weights = Ragged(weighted.weights, weighted.tokens.offsets).take(twin).values
    torch.manual_seed(0)
    model = (
        CosineBaseline(torch.randn(small.NUM_ITEMS, 37)[twin])
        if kind == "vectors"
        else TfIdfBaseline(replace(weighted, tokens=tokens, weights=weights), 45)
    )
    shown = data.interactions.candidates
    other = replace(data.interactions, candidates=Ragged(shown.values ^ 1, shown.offsets))
    swapped = type(data)(other, data.histories, data.num_items)
    assert np.array_equal(rank(model, data, batch_size=9).score, rank(model, swapped, batch_size=9).score)


def test_each_click_has_its_share_of_the_history():
    batch, _ = small.impressions().batch(np.arange(20))
    shares = history_mean(batch)
    assert shares.shape == (20, len(batch.items))
    assert torch.allclose(shares.sum(1), batch.history_mask.any(1).double())
