"""Training batches: pure functions of their number that together show every example once a pass."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch

from legorec.batch import ClickBatch
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.draws import Purpose, generator
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from tests.support import small


def same(one: ClickBatch, other: ClickBatch) -> bool:
    pairs = [(getattr(one, part.name), getattr(other, part.name)) for part in fields(ClickBatch)]
    return all(
        torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right for left, right in pairs
    )


def shown(batch: ClickBatch) -> list[tuple[int, int, float]]:
    """Impression, item and label of each example."""
    items = batch.items[batch.candidates[:, 0]]
    return list(zip(batch.group.tolist(), items.tolist(), batch.labels[:, 0].tolist(), strict=True))


def examples(positives_only: bool) -> Counter[tuple[int, int, float]]:
    """What a pass must show, read from the interactions one by one."""
    found = small.training_clicks().interactions
    rows = np.repeat(np.arange(len(found)), found.candidates.lengths)
    every = zip(rows.tolist(), found.candidates.values.tolist(), found.labels.tolist(), strict=True)
    return Counter((row, item, float(label)) for row, item, label in every if label or not positives_only)


@pytest.mark.parametrize("positives_only", [True, False])
def test_a_batch_is_a_pure_function_of_seed_and_number(positives_only):
    stream = small.stream(positives_only=positives_only)
    order = [7, 0, 30, 7, 1, 31, 0]
    met = [stream.batch(number) for number in order]
    for number, batch in zip(order, met, strict=True):
        torch.manual_seed(number)
        np.random.seed(number)
        assert same(small.stream(positives_only=positives_only).batch(number), batch)
        assert batch.number == number
    assert not same(small.stream(positives_only=positives_only, seed=6).batch(7), met[0])


@pytest.mark.parametrize("positives_only", [True, False])
@pytest.mark.parametrize("batch_size", [1, 8, 1000])
def test_a_pass_shows_every_example_once(positives_only, batch_size):
    stream = small.stream(batch_size, positives_only=positives_only)
    wanted = examples(positives_only)
    orders = []
    for turn in range(2):
        numbers = stream.epoch(turn)
        assert len(numbers) == stream.num_batches == -(-wanted.total() // batch_size)
        batches = [stream.batch(number) for number in numbers]
        assert {len(batch.labels) for batch in batches[:-1]} <= {batch_size}
        orders.append([each for batch in batches for each in shown(batch)])
        assert Counter(orders[-1]) == wanted
    assert orders[0] != orders[1]


@pytest.mark.parametrize("positives_only", [True, False])
def test_r1_the_order_of_a_pass_is_numpys_permutation(positives_only):
    """However it is stored: runs of a seed see what they have always seen."""
    stream = small.stream(batch_size=1000, positives_only=positives_only)
    labels = stream.interactions.labels
    every = np.flatnonzero(labels) if positives_only else np.arange(len(labels))
    impression = np.repeat(np.arange(len(stream.interactions)), stream.interactions.candidates.lengths)
    for turn in range(3):
        order = every[generator(5, Purpose.SHUFFLE, turn).permutation(len(every))]
        assert stream.batch(turn).group.tolist() == impression[order].tolist()


@pytest.mark.parametrize("size", [1, 3, 64])
def test_blocks_change_nothing(monkeypatch, size):
    whole = small.training_clicks(), small.stream(positives_only=True)
    monkeypatch.setattr("legorec.data.ragged.BLOCK", size)
    cut = small.training_clicks(), small.stream(positives_only=True)
    assert np.array_equal(whole[0].known.keys, cut[0].known.keys)
    assert np.array_equal(whole[0].known.counts(), cut[0].known.counts())
    assert np.array_equal(whole[0].eligible, cut[0].eligible)
    assert all(same(whole[1].batch(number), cut[1].batch(number)) for number in range(40))


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_n_epochs_of_an_nth_see_every_example_once(parts):
    stream = small.stream(epoch_batch=-parts)
    for turn in range(2):
        numbers = [n for epoch in range(turn * parts, (turn + 1) * parts) for n in stream.epoch(epoch)]
        assert numbers == list(range(turn * stream.num_batches, (turn + 1) * stream.num_batches))
        assert Counter(each for number in numbers for each in shown(stream.batch(number))) == examples(True)
    sizes = [len(stream.epoch(epoch)) for epoch in range(2 * parts)]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


@pytest.mark.parametrize("count", [1, 5, 50])
def test_epochs_of_a_number_of_batches(count):
    stream = small.stream(epoch_batch=count)
    numbers = [list(stream.epoch(epoch)) for epoch in range(4)]
    assert [len(each) for each in numbers] == [count] * 4
    assert sum(numbers, []) == list(range(4 * count))
    whole = [n for n in sum(numbers, []) if n < stream.num_batches]
    if len(whole) == stream.num_batches:
        assert Counter(each for n in whole for each in shown(stream.batch(n))) == examples(True)


def test_the_click_stands_first_and_negatives_follow():
    batch = small.stream(batch_size=16, num_negatives=5).batch(2)
    assert batch.labels.tolist() == [[1.0] + [0.0] * 5] * 16
    assert batch.candidate_mask.all() and batch.candidates.shape == (16, 6)
    found = small.training_clicks()
    for row in range(16):
        items = batch.items[batch.candidates[row]].tolist()
        assert len(set(items)) == 6
        user = np.full(6, int(batch.user[row]))
        assert found.known.contains(user, np.array(items)).tolist() == [True] + [False] * 5


def test_pointwise_adds_negatives_to_clicks_alone():
    stream = small.stream(batch_size=1000, num_negatives=3, positives_only=False)
    batch = stream.batch(0)
    clicked = batch.labels[:, 0] == 1
    assert clicked.any() and not clicked.all()
    assert batch.candidate_mask[:, 0].all() and not batch.labels[:, 1:].any()
    assert torch.equal(batch.candidate_mask[:, 1:], clicked[:, None].expand(-1, 3))
    plain = small.stream(batch_size=1000, num_negatives=0, positives_only=False).batch(0)
    assert plain.candidates.shape[1] == 1 and shown(plain) == shown(batch)


def test_a_user_without_choice_matters_only_where_negatives_are_wanted():
    """User 1 clicked everything; an example of theirs that is not a click needs no negatives."""
    found = Interactions(
        np.array([0, 1], dtype=np.int32),
        np.array([0, 1], dtype=np.int32),
        Ragged.from_lists([[0, 1], [0]]),
        np.array([1, 0, 0], dtype=np.uint8),
        None,
        None,
    )
    known = TrainingClicks(found, Histories(np.array([0, 1], dtype=np.int32), np.array([[0, 0], [0, 2]])), 2)
    stream = ClickStream(known, batch_size=3, num_negatives=1, positives_only=False)
    assert int(stream.batch(0).candidate_mask.sum()) == 4


def test_batches_hold_history_user_and_span():
    found = small.training_clicks()
    batch = small.stream(batch_size=16).batch(1)
    group = batch.group.numpy()
    assert batch.user.tolist() == found.interactions.user[group].tolist()
    assert batch.span.tolist() == found.interactions.span[group].tolist()
    items, mask = found.histories.padded(batch.span.numpy())
    assert np.array_equal(batch.history_mask.numpy(), mask)
    assert batch.items[batch.history].numpy()[mask].tolist() == items[mask].tolist()
    assert not batch.history.numpy()[~mask].any()


def test_items_are_distinct_and_all_used():
    batch = small.stream(batch_size=16).batch(1)
    assert len(batch.items.unique()) == len(batch.items)
    used = torch.cat([batch.history[batch.history_mask], batch.candidates[batch.candidate_mask]])
    assert used.unique().tolist() == list(range(len(batch.items)))


@pytest.mark.parametrize("positives_only", [True, False])
def test_a_split_without_a_click_is_refused(positives_only):
    found, stored = small.interactions()
    silent = Interactions(found.user, found.span, found.candidates, np.zeros_like(found.labels), None, None)
    clicks = TrainingClicks(silent, stored, small.NUM_ITEMS)
    with pytest.raises(ValueError, match="the training split holds no click; nothing can be learned from it"):
        ClickStream(clicks, batch_size=4, num_negatives=0, positives_only=positives_only)


def test_an_epoch_has_one_batch_at_least():
    stream = small.stream(batch_size=1000, epoch_batch=-3)
    assert [stream.epoch(number) for number in range(3)] == [range(0, 1), range(1, 2), range(2, 3)]


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        small.stream(batch_size=0)
