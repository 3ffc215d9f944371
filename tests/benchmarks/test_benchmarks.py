"""The benchmark runs, and its baseline is right; how fast anything is belongs to no test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import plain, plain_ranking
from benchmarks.plain import AdditiveAttention, PaddedItems, PlainModel
from benchmarks.subject import Clock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def items() -> PaddedItems:
    """Ten items of different lengths; item 1 has no title and item 2 no category."""
    generator = torch.Generator().manual_seed(3)
    titles = torch.randint(1, 20, (11, plain.TITLE_LENGTH), generator=generator)
    lengths = torch.tensor([0, 0, 3, 5, 8, 30, 1, 12, 7, 2, 9])
    titles[torch.arange(plain.TITLE_LENGTH) >= lengths[:, None]] = 0
    categories = torch.tensor([0, 3, 0, 1, 2, 3, 1, 2, 3, 1, 2])
    return PaddedItems(titles, categories, num_words=20, num_categories=4)


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_padded_slots_change_no_score(name: str, items: PaddedItems) -> None:
    torch.manual_seed(0)
    model = PlainModel(name, items, 16).eval()
    history, candidates = torch.tensor([[4, 7, 2, 0, 0], [0, 0, 0, 0, 0]]), torch.tensor([[3, 1], [5, 6]])

    def scores(clicks: torch.Tensor) -> torch.Tensor:
        return model(
            {
                "history_title": items.titles[clicks],
                "history_category": items.categories[clicks],
                "history_mask": clicks > 0,
                "candidate_title": items.titles[candidates],
                "candidate_category": items.categories[candidates],
            }
        )

    long, short = scores(history), scores(history[:, :3])
    assert long.isfinite().all()
    torch.testing.assert_close(long, short)
    torch.testing.assert_close(long[1], torch.zeros(2))  # an empty history is a zero user


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_cached_vectors_score_as_the_model_does(name: str, items: PaddedItems) -> None:
    torch.manual_seed(0)
    model = PlainModel(name, items, 16).eval()
    history, candidates = torch.tensor([[4, 7, 2, 0]]), torch.tensor([[3, 1, 9]])
    with torch.no_grad():
        online = model(
            {
                "history_title": items.titles[history],
                "history_category": items.categories[history],
                "history_mask": history > 0,
                "candidate_title": items.titles[candidates],
                "candidate_category": items.categories[candidates],
            }
        )
        vectors = plain_ranking.cache_items(model, items, batch_size=4)
        user = model.user_encoder(vectors[history], history > 0)
    torch.testing.assert_close(online, user @ vectors[candidates[0]].T)


def test_attention_ignores_what_is_masked() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(8)
    values, mask = torch.randn(2, 4, 8), torch.tensor([[True, True, False, False], [False] * 4])
    changed = values.clone()
    changed[~mask] = 100.0
    torch.testing.assert_close(attention(values, mask), attention(changed, mask))


def test_metrics_by_hand() -> None:
    report = plain_ranking.mean_metrics([7, 7, 7, 8, 8], [0, 1, 0, 1, 1], [0.9, 0.5, 0.1, 0.3, 0.2])
    assert report == pytest.approx(
        {"gauc": 0.5, "mrr": 0.5, "ndcg@5": 1 / np.log2(3), "ndcg@10": 1 / np.log2(3)}
    )


def test_clock_counts_inner_calls_for_themselves() -> None:
    clock = Clock()
    inner = clock.wrap("inner", lambda: sum(range(300_000)))
    clock.wrap("outer", inner)()
    assert clock.seconds["inner"] > clock.seconds["outer"] >= 0


@pytest.mark.slow
def test_everything_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.core", "--quick"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert len(titles) == 7
