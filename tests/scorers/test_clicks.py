"""Ranking fast and slow give the same scores (R15), in stored order; the fast way encodes nothing twice."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from legorec.recommender import Recommender
from tests.support import small
from tests.support.ranking import rank

NAMES = ["nrms", "naml"]
PAGES = [(1, 1), (3, 7), (16, 64), (1000, 1000)]


def uneven() -> Impressions:
    """Impressions of 1 to 55 candidates, some with an empty history, most with items shown elsewhere too."""
    rng = np.random.default_rng(3)
    stored, owner = small.histories(3)
    span = rng.integers(0, len(stored), 40).astype(np.int32)
    sizes = rng.choice([1, 2, 30, 55], 40)
    shown = np.concatenate([rng.choice(small.NUM_ITEMS - 3, size, replace=False) for size in sizes])
    labels = (rng.random(len(shown)) < 0.2).astype(np.uint8)
    candidates = Ragged.from_lengths(shown.astype(np.int32), sizes)
    found = Interactions(owner[span].astype(np.int32), span, candidates, labels, None, None)
    data = Impressions(found, stored, small.NUM_ITEMS)
    assert (stored.lengths[span] == 0).any() and (stored.lengths[span] > 3).any()
    return data


def scores_one_by_one(model: nn.Module, data: Impressions) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        rows = [model(data.batch(np.array([row]))[0])[0] for row in range(len(data))]
    return torch.cat(rows).numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size, item_page_size", PAGES)
@pytest.mark.parametrize("data", [small.impressions(), uneven()], ids=["even", "uneven"])
def test_r15_fast_scores_are_the_slow_ones(name, batch_size, item_page_size, data):
    model = small.recommender(name)
    alone = scores_one_by_one(model, data)
    pages = {"batch_size": batch_size, "item_page_size": item_page_size}
    fast, slow = rank(model, data, fast=True, **pages), rank(model, data, fast=False, **pages)
    for found in (fast, slow):
        assert np.array_equal(found.group, data.group)
        assert np.array_equal(found.label, data.interactions.labels)
        assert found.score.dtype == np.float32 and found.group_by == "impression"
        assert np.abs(found.score - alone).max() <= 1e-5
    assert (model.source.catalog.lengths[:, 0] == 0).any()


class Both(nn.Module):
    """A predictor that reads the history, and a user encoder that reads the user."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.forward = self.encode if what == "user" else self.predict

    def encode(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor) -> Tensor:
        return (clicks_BHD * mask_BH.unsqueeze(2)).sum(1) + 0.1 * user.unsqueeze(1)

    def predict(self, user: Tensor, candidates_BKD: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
        seen = (candidates_BKD @ clicks.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), 0.0)
        return (
            seen.square().sum(2) + (candidates_BKD @ user.unsqueeze(2)).squeeze(2) + mask.sum(1, keepdim=True)
        )


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_extras_are_the_same_on_both_ways(batch_size):
    plain = small.recommender()
    model = Recommender(plain.source, plain.item_encoder, Both("user"), Both("predictor"))
    fast = rank(model, uneven(), batch_size=batch_size)
    slow = rank(model, uneven(), batch_size=batch_size, fast=False)
    np.testing.assert_allclose(fast.score, slow.score, rtol=1e-5, atol=1e-5)


def counted(model: Recommender) -> dict[str, list[int]]:
    """Rows that go through the item and the user encoder, call by call."""
    rows: dict[str, list[int]] = {"item_encoder": [], "user_encoder": []}
    for name, calls in rows.items():
        getattr(model, name).register_forward_hook(lambda *call, calls=calls: calls.append(len(call[2])))
    return rows


@pytest.mark.parametrize("batch_size, item_page_size", PAGES)
def test_each_item_and_each_span_is_encoded_once(batch_size, item_page_size):
    model, data = small.recommender(), uneven()
    rows = counted(model)
    rank(model, data, batch_size=batch_size, item_page_size=item_page_size)
    spans = np.unique(data.interactions.span)
    items, mask = data.histories.padded(spans)
    needed = set(items[mask]) | set(data.interactions.candidates.values)
    assert sum(rows["item_encoder"]) == len(needed) < small.NUM_ITEMS
    assert max(rows["item_encoder"]) <= item_page_size
    assert sum(rows["user_encoder"]) == len(spans) < len(data)
    assert max(rows["user_encoder"]) <= batch_size


def test_the_next_page_of_items_is_fetched_before_one_is_encoded(monkeypatch):
    model, calls = small.recommender(), []
    monkeypatch.setattr(model, "prefetch", lambda items: calls.append(("fetch", items.tolist())))
    model.source.register_forward_pre_hook(lambda source, given: calls.append(("run", given[0].tolist())))
    rank(model, uneven(), item_page_size=20)
    pages = [items for what, items in calls if what == "run"]
    assert len(pages) == 3
    assert calls == [
        ("fetch", pages[1]),
        ("run", pages[0]),
        ("fetch", pages[2]),
        ("run", pages[1]),
        ("run", pages[2]),
    ]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(fast, training):
    model = small.recommender(dropout=0.5).train(training)
    first = rank(model, small.impressions(), fast=fast)
    assert model.training == training and model.item_encoder.dropout.training == training
    assert np.array_equal(rank(model, small.impressions(), fast=fast).score, first.score)
    assert all(part.grad is None and not part.is_inference() for part in model.parameters())


class Stopped(Exception):
    pass


@pytest.mark.parametrize("fast", [True, False])
def test_the_mode_comes_back_after_an_interruption(fast):
    model = small.recommender()

    def stop(impressions: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        rank(model, small.impressions(), fast=fast, progress=stop)
    assert model.training


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_progress_adds_up_to_all_impressions(fast, batch_size):
    data, done = uneven(), []
    rank(small.recommender(), data, fast=fast, batch_size=batch_size, item_page_size=10, progress=done.append)
    assert sum(done) == len(data) and (0 in done) == fast


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_scores_are_float32_and_near(fast):
    model, data = small.recommender(), uneven()
    full, half = rank(model, data, fast=fast), rank(model, data, fast=fast, bf16=True)
    assert half.score.dtype == np.float32 and not np.array_equal(half.score, full.score)
    assert np.abs(half.score - full.score).max() <= 0.05 * np.abs(full.score).max()


@pytest.mark.parametrize("fast", [True, False])
def test_nothing_to_rank(fast):
    found, stored = small.interactions()
    none = Interactions(
        found.user[:0], found.span[:0], found.candidates.take([]), found.labels[:0], None, None
    )
    ranking = rank(small.recommender(), Impressions(none, stored, small.NUM_ITEMS), fast=fast)
    assert len(ranking.group) == len(ranking.label) == len(ranking.score) == 0


@pytest.mark.parametrize("fast", [True, False])
def test_r19_histories_all_empty_are_finite(fast):
    found, _ = small.interactions()
    nothing = Histories(np.zeros(0, dtype=np.int32), np.zeros((2 * small.NUM_USERS, 2), dtype=np.int64))
    data = Impressions(found, nothing, small.NUM_ITEMS, "user")
    ranking = rank(small.recommender(), data, fast=fast)
    assert np.isfinite(ranking.score).all() and ranking.group_by == "user"


class ItemNumber(nn.Module):
    def forward(self, batch: ClickBatch) -> Tensor:
        return batch.items[batch.candidates].float()


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_another_model_is_called_batch_by_batch_and_rows_keep_their_order(batch_size):
    data = uneven()
    found = rank(ItemNumber(), data, batch_size=batch_size)
    assert found.score.tolist() == data.interactions.candidates.values.tolist()
