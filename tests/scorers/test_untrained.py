"""Scores without training: counted clicks, and draws that repeat."""

from dataclasses import replace

import numpy as np
import pytest

from legorec.batch import Ranking
from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.scorers.untrained import (
    ItemMeanBaseline,
    LikesRatioBaseline,
    MostRecentBaseline,
    PopularityBaseline,
    RandomBaseline,
    RepeatLastBaseline,
    last_items,
)
from tests.support import small
from tests.support.prompted import marked_store
from tests.support.ranking import rank


def test_popularity_counts_the_users_who_clicked():
    clicks, data = small.training_clicks(), small.impressions(seed=0)
    users: list[set[int]] = [set() for _ in range(small.NUM_ITEMS)]
    whole = clicks.histories.whole()
    row = 0
    for number, user in enumerate(clicks.interactions.user.tolist()):
        start, stop = whole.spans[clicks.interactions.span[number]]
        for item in whole.clicks[start:stop].tolist():
            users[item].add(user)
        for item in clicks.interactions.candidates[number].tolist():
            if clicks.interactions.labels[row]:
                users[item].add(user)
            row += 1
    wanted = [len(users[item]) for item in data.interactions.candidates.values]
    assert rank(PopularityBaseline(clicks), data, batch_size=9).score.tolist() == wanted
    assert max(wanted) > 2 and min(wanted) == 0


def test_an_item_that_was_shown_has_the_mean_of_its_labels():
    clicks, data = small.training_clicks(), small.impressions(seed=0)
    table = clicks.interactions
    labels: dict[int, list[int]] = {}
    for item, label in zip(table.candidates.values.tolist(), table.labels.tolist(), strict=True):
        labels.setdefault(item, []).append(label)
    shown = data.interactions.candidates.values.tolist()
    every = float(table.labels.mean())
    wanted = [float(np.mean(labels[item])) if item in labels else every for item in shown]
    assert rank(ItemMeanBaseline(clicks), data, batch_size=9).score == pytest.approx(wanted)
    unseen = ItemMeanBaseline(TrainingClicks(table, clicks.histories, small.NUM_ITEMS + 1)).means[-1]
    assert len(set(wanted)) > 2 and unseen == pytest.approx(every)


def test_the_most_recent_click_of_training_comes_first():
    clicks, data = small.training_clicks(), small.impressions(seed=0)
    table = clicks.interactions
    time = np.random.default_rng(0).integers(10**9, 2 * 10**9, len(table) // 2).repeat(2)  # some at once
    timed = TrainingClicks(replace(table, time=time), clicks.histories, small.NUM_ITEMS)
    latest, row = {}, 0
    for number in range(len(table)):
        for item in table.candidates[number].tolist():
            if table.labels[row]:
                latest[item] = max(latest.get(item, 0), int(time[number]))
            row += 1
    score = rank(MostRecentBaseline(timed), data, batch_size=9).score
    wanted = np.array([latest.get(item, 0) for item in data.interactions.candidates.values.tolist()])
    assert (np.sign(score[:, None] - score) == np.sign(wanted[:, None] - wanted)).all()
    assert 0 < len(latest) < small.NUM_ITEMS and len(set(latest.values())) < len(latest), "ties, and never"
    with pytest.raises(ValueError, match="no times"):
        MostRecentBaseline(clicks)


def test_the_share_of_likes_is_counted_in_the_history_that_is_read(tmp_path):
    store = marked_store(tmp_path / "store")
    for longest in (2, 50):
        histories = Histories(store.histories, store.spans, longest)
        table = store.interactions("test")
        data = Impressions(table, histories, len(store.items), "user")
        wanted = []
        for span in table.span:
            start, stop = store.spans[span]
            read = store.marks[max(start, stop - longest) : stop]
            wanted.append(read.mean())
        score = rank(LikesRatioBaseline(histories, store.marks == 1), data, batch_size=5).score
        assert score.tolist() == pytest.approx(wanted) and len(set(wanted)) > 1


def test_nobody_knows_who_has_no_history():
    data = small.impressions(seed=0)
    nothing = np.ones(len(data.histories.clicks), dtype=bool)
    score = rank(LikesRatioBaseline(data.histories, nothing), data).score
    empty = data.histories.lengths[data.interactions.span] == 0
    per_row = np.repeat(empty, data.interactions.candidates.lengths)
    assert empty.any() and (score[per_row] == 0.5).all() and (score[~per_row] == 1).all()


def random_ranking(seed: int, batch_size: int = 16) -> Ranking:
    return rank(RandomBaseline(seed), small.impressions(), batch_size=batch_size)


def test_random_scores_repeat_and_hardly_tie():
    first = random_ranking(1)
    assert np.array_equal(random_ranking(1).score, first.score)
    assert not np.array_equal(random_ranking(2).score, first.score)
    assert len(np.unique(first.score)) == len(first.score)
    assert 0.4 < first.score.mean() < 0.6 and first.score.min() >= 0 and first.score.max() <= 1


def test_random_scores_of_batches_differ():
    data = small.impressions()
    baseline = RandomBaseline(1)
    rows = np.arange(8)
    drawn = [baseline(data.batch(rows, number)[0]) for number in (0, 1)]
    assert not (drawn[0] == drawn[1]).any()


def test_the_last_item_is_repeated_and_nothing_else():
    batch, _ = small.impressions().batch(np.arange(40))
    scores, last = RepeatLastBaseline()(batch), last_items(batch)
    assert (last == -1).any()
    for row, item in enumerate(last):
        shown = batch.items[batch.candidates[row]]
        assert ((scores[row] == 1) == (shown == int(item))).all() and set(scores[row].tolist()) <= {0.0, 1.0}
    assert scores.any(), "some candidates were clicked before"
