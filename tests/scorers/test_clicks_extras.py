"""Fast ranking gives bricks what they ask for as slow ranking does, in pages of bounded size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec import registry
from legorec.batch import TokenStates
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from legorec.recommender import Recommender
from tests.support.bricks import NUM_ITEMS, NUM_USERS, construct
from tests.support.ranking import rank

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LENGTHS = [0, 1, 2, 5, 7, 30, 3, 0, 12]  # clicks that each user made in all
SIZES = (1, 2, 3, 8, 12)  # candidates of an impression


@cache
def several(max_length: int | None = None, num_rows: int = 50) -> Impressions:
    """Impressions of growing histories: up to four spans a user, some of them empty, some users unknown."""
    rng = np.random.default_rng(4)
    stops = np.cumsum(LENGTHS)
    parts = [
        (stop - length, length, user) for user, (stop, length) in enumerate(zip(stops, LENGTHS, strict=True))
    ]
    spans, owner = [], []
    for start, length, user in parts:
        for share in (0.0, 0.3, 0.6, 1.0):
            spans.append((start, start + int(share * length)))
            owner.append(-1 if user == 4 else user)  # who is in no table may have clicked
    span = rng.integers(0, len(spans), num_rows).astype(np.int32)
    sizes = rng.choice(SIZES, num_rows)
    shown = np.concatenate([rng.choice(NUM_ITEMS, size, replace=False) for size in sizes]).astype(np.int32)
    stored = Histories(rng.integers(0, NUM_ITEMS, stops[-1]).astype(np.int32), np.array(spans), max_length)
    labels = (rng.random(len(shown)) < 0.3).astype(np.uint8)
    user = np.array(owner, dtype=np.int32)[span]
    found = Interactions(user, span, Ragged.from_lengths(shown, sizes), labels, None, None)
    data = Impressions(found, stored, NUM_ITEMS)
    assert (stored.lengths[span] == 0).any() and (user == -1).any() and user.max() < NUM_USERS
    assert len(np.unique(span)) < num_rows
    assert len({(each, span[row]) for row, each in enumerate(user)}) > len(np.unique(user)) + 5
    return data


def model_of(
    user_encoder: str | nn.Module, predictor: str | nn.Module, plugin: str | None = None
) -> Recommender:
    """Bricks from the registry, or made up, over a table of words; what starts at zero is moved away."""

    def brick(kind: str, given: str | nn.Module) -> nn.Module:
        return construct(kind, given, max_history=31) if isinstance(given, str) else given

    model = Recommender(
        construct("source", "table"),
        construct("item_encoder", "naml"),
        brick("user_encoder", user_encoder),
        brick("predictor", predictor),
        brick("user_plugin", plugin) if plugin else None,
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    return model


def asking(kind: str, extra: str) -> list[str]:
    """Bricks of the registry that ask for something."""
    return [name for name in registry.names(kind) if extra in registry.extras(registry.find(kind, name))]


def predictor_for(user_encoder: str) -> str:
    """One that goes with it, the plainest where there is one."""
    every = ("dot", *registry.names("predictor"))
    return next(
        each for each in every if not registry.misfits({"user_encoder": user_encoder, "predictor": each})
    )


READERS = sorted(
    {
        (name, predictor_for(name))
        for extra in registry.EXTRAS["user_encoder"]
        for name in asking("user_encoder", extra)
    }
    | {
        (user_encoder, predictor)
        for extra in registry.EXTRAS["predictor"]
        for predictor in asking("predictor", extra)
        for user_encoder in registry.names("user_encoder")
        if not registry.misfits({"user_encoder": user_encoder, "predictor": predictor})
    }
)
IDS = ["-".join(each) for each in READERS]


def test_there_are_bricks_that_ask_for_every_extra() -> None:
    for kind, offered in registry.EXTRAS.items():
        assert all(asking(kind, extra) for extra in offered), kind
    assert {"lstur", "semantic", "flatten_transformer", "miner", "history"} <= {each[0] for each in READERS}
    assert {"din", "category_miner"} <= {each[1] for each in READERS}


def same_both_ways(model: Recommender, data: Impressions, batch_size: int, item_page_size: int = 5) -> None:
    fast = rank(model, data, batch_size=batch_size, item_page_size=item_page_size)
    slow = rank(model, data, batch_size=7, fast=False)
    assert np.isfinite(fast.score).all() and len(np.unique(fast.score)) > len(fast.score) // 4
    np.testing.assert_allclose(fast.score, slow.score, **CLOSE)
    assert np.array_equal(fast.group, slow.group) and np.array_equal(fast.label, slow.label)


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
@pytest.mark.parametrize("user_encoder, predictor", READERS, ids=IDS)
def test_bricks_that_ask_for_more_rank_the_same_both_ways(user_encoder, predictor, batch_size):
    same_both_ways(model_of(user_encoder, predictor), several(), batch_size)


@pytest.mark.parametrize("plugin", registry.names("user_plugin"))
@pytest.mark.parametrize(
    "user_encoder, predictor", [("nrms", "dot"), ("lstur", "dcn"), ("miner", "category_miner")]
)
def test_plugins_rank_the_same_both_ways(user_encoder, predictor, plugin):
    same_both_ways(model_of(user_encoder, predictor, plugin), several(), 4)


@pytest.mark.parametrize("user_encoder, predictor", READERS, ids=IDS)
def test_histories_cut_short_rank_the_same_both_ways(user_encoder, predictor):
    same_both_ways(model_of(user_encoder, predictor), several(max_length=2), 4)


class EveryUser(nn.Module):
    """A user vector that every extra of a user encoder has a part in."""

    def forward(
        self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor, click_items: Tensor, states: TokenStates
    ) -> Tensor:
        weights = mask_BH * (1.0 + click_items)
        tokens, there = states.by_item.pad(states.values)
        of_click = (tokens * there.unsqueeze(2)).sum(1).view(*mask_BH.shape, -1)
        read = weights.unsqueeze(2) * clicks_BHD + of_click * weights.unsqueeze(2)
        return read.masked_fill(~mask_BH.unsqueeze(2), 0.0).sum(1) / 50 + 0.1 * user.unsqueeze(1)

    def click_weights(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        weights = clicks_BHD[..., :2].masked_fill(~mask_BH.unsqueeze(2), 0.0)
        return weights.square()


class EveryPredictor(nn.Module):
    """Scores that every extra of a predictor has a part in; rows, candidates and clicks a page are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int, int]] = []

    def forward(
        self,
        user: Tensor,
        candidates_BKD: Tensor,
        mask: Tensor,
        clicks: Tensor,
        click_items: Tensor,
        click_weights: Tensor,
        candidate_items: Tensor,
        candidate_mask: Tensor,
    ) -> Tensor:
        assert candidate_items.shape == candidate_mask.shape == candidates_BKD.shape[:2]
        assert clicks.shape[:2] == mask.shape == click_items.shape == click_weights.shape[:2]
        assert candidate_mask.any(1).all()
        self.shapes.append((*candidate_mask.shape, mask.shape[1]))
        match_BKH = candidates_BKD @ clicks.transpose(1, 2)
        near_BKH = (click_items.unsqueeze(1) - candidate_items.unsqueeze(2)).abs() < 3
        found_BKH = match_BKH * near_BKH + match_BKH * click_weights.sum(2).unsqueeze(1)
        seen = mask.unsqueeze(1) & candidate_mask.unsqueeze(2)
        return found_BKH.masked_fill(~seen, 0.0).sum(2) + (candidates_BKD @ user.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize("batch_size, item_page_size", [(1, 1), (2, 4), (9, 100), (1000, 1000)])
def test_every_extra_is_the_same_both_ways(batch_size, item_page_size):
    same_both_ways(model_of(EveryUser(), EveryPredictor()), several(), batch_size, item_page_size)


@pytest.mark.parametrize("extra", ["user", "click_items", "states"])
def test_every_extra_of_a_user_has_a_part_in_the_scores(extra, monkeypatch):
    """So that the test above would see one that is wrong."""
    model = model_of(EveryUser(), EveryPredictor())
    right = rank(model, several(), batch_size=4).score
    read = EveryUser.forward

    def wrong(self, clicks_BHD, mask_BH, user, click_items, states):
        given = {"user": user, "click_items": click_items, "states": states}
        given[extra] = {
            "user": lambda: user + 1,
            "click_items": lambda: click_items.flip(0),
            "states": lambda: TokenStates(states.values.flip(0), states.lengths),
        }[extra]()
        return read(self, clicks_BHD, mask_BH, **given)

    monkeypatch.setattr(model.user_encoder, "forward", wrong.__get__(model.user_encoder))
    assert np.abs(rank(model, several(), batch_size=4).score - right).max() > 1e-3


class SumOfClicks(nn.Module):
    """Looks at the clicks through the user encoder ``history``, and at nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int, int]] = []

    def forward(self, user_BHD: Tensor, candidates_BKD: Tensor) -> Tensor:
        self.shapes.append((*candidates_BKD.shape[:2], user_BHD.shape[1]))
        return (candidates_BKD @ user_BHD.transpose(1, 2)).square().sum(2)


PAGED = {
    "history beside the user": lambda: model_of(EveryUser(), EveryPredictor()),
    "history as the user": lambda: model_of("history", SumOfClicks()),
}


@pytest.mark.parametrize("case", PAGED)
@pytest.mark.parametrize("batch_size", [1, 2, 4, 16, 1000])
def test_pages_that_hold_histories_are_bounded(case, batch_size):
    model, data = PAGED[case](), several()
    rank(model, data, batch_size=batch_size)
    shapes = model.predictor.shapes
    for rows, candidates, clicks in shapes:
        cells = rows * candidates
        assert rows == 1 or cells <= max(1, 64 * batch_size // clicks), (rows, candidates, clicks)
    assert sum(rows for rows, _, _ in shapes) == len(data)
    assert max(clicks for _, _, clicks in shapes) == max(LENGTHS)
    if batch_size == 1:  # a page may be one row that alone has more
        assert any(candidates * clicks > 64 for _, candidates, clicks in shapes)
    else:
        assert any(rows > 1 for rows, _, _ in shapes)


def test_histories_of_like_length_share_a_page():
    """A long history does not widen the short ones, of which many go on a page."""
    model, data = PAGED["history as the user"](), several()
    rank(model, data, batch_size=4)
    clicks = [shape[2] for shape in model.predictor.shapes]
    assert clicks == sorted(clicks) and clicks[0] == 1
    widest = {
        length: max(shape[0] for shape in model.predictor.shapes if shape[2] == length) for length in clicks
    }
    assert widest[1] > widest[max(LENGTHS)]


@pytest.mark.parametrize("user_encoder, predictor", [*READERS, ("nrms", "dot")], ids=[*IDS, "nrms-dot"])
def test_each_span_is_encoded_once(user_encoder, predictor):
    model, data, rows = model_of(user_encoder, predictor), several(), []
    model.user_encoder.register_forward_hook(lambda *call: rows.append(len(call[2])))
    rank(model, data, batch_size=4)
    spans, users = np.unique(data.interactions.span), np.unique(data.interactions.user)
    assert sum(rows) == len(spans) > len(users) and max(rows) <= 4


@pytest.mark.parametrize("user_encoder, predictor", READERS, ids=IDS)
def test_histories_all_empty_rank_the_same_both_ways(user_encoder, predictor):
    data = several()
    nothing = Histories(np.zeros(0, dtype=np.int32), np.zeros((len(data.histories), 2), dtype=np.int64))
    empty = Impressions(data.interactions, nothing, NUM_ITEMS)
    model = model_of(user_encoder, predictor)
    fast, slow = (rank(model, empty, batch_size=4, fast=way).score for way in (True, False))
    assert np.isfinite(fast).all()
    np.testing.assert_allclose(fast, slow, **CLOSE)


def test_states_are_looked_up_once_for_each_item_of_a_page():
    model, data, asked = model_of("flatten_transformer", "dot"), several(), []
    model.source.register_forward_pre_hook(lambda source, given: asked.append(given[0].tolist()))
    rank(model, data, batch_size=9, item_page_size=1000)
    table, *pages = asked
    assert len(table) == len(set(table)) <= NUM_ITEMS and len(pages) > 1
    assert all(len(page) == len(set(page)) for page in pages)
    assert pages[0] == []  # the first page is that of the empty histories


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("user_encoder, predictor", READERS, ids=IDS)
def test_bf16_is_finite_and_near(user_encoder, predictor, fast):
    model, data = model_of(user_encoder, predictor), several()
    full, half = (rank(model, data, fast=fast, batch_size=9, bf16=bf16).score for bf16 in (False, True))
    assert half.dtype == np.float32 and np.isfinite(half).all()
    assert np.abs(half - full).max() <= 0.1 * np.abs(full).max()
