"""Candidates of one user are scored several times as fast where their common beginning is read once."""

from __future__ import annotations

from statistics import median

import pytest
import torch

from benchmarks import prompts
from tests.support.launching import one_thread


@pytest.mark.slow
def test_21_candidates_after_300_tokens_are_4_times_as_fast_and_score_the_same() -> None:
    with one_thread():
        model, lists = prompts.drawn_model(), prompts.drawn_lists()
        with torch.inference_mode():
            apart = model(lists.batch) - model.score_lists(lists.batch, lists.owner)
        assert apart.abs().max() < 1e-4
        turns = [prompts.prefix_seconds(model, lists) for _ in range(5)]
    assert median(each["whole"] / each["shared"] for each in turns) >= 4


@pytest.mark.slow
def test_one_candidate_a_user_gets_no_slower() -> None:
    with one_thread():
        model, lists = prompts.drawn_model(), prompts.drawn_lists(users=12, candidates=1)
        turns = [prompts.prefix_seconds(model, lists) for _ in range(7)]
    assert median(each["shared"] / each["whole"] for each in turns) < 1.1
