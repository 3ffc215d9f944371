"""What filters keep is what each impression says by itself, in stored order and with its stored number."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from legorec.data import filters
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.filters import Rule, few_shots, filtered
from legorec.data.histories import Histories
from legorec.data.interactions import Interactions
from legorec.data.strings import Strings
from tests.support import small


def given(seed: int = 0, count: int = 90) -> tuple[Interactions, Histories, list[Rule]]:
    """Impressions with ids and times, and a rule of each kind."""
    found, stored = small.interactions(seed, count)
    rng = np.random.default_rng(seed)
    ids = Strings.pack(pl.Series([f"imp{number}" for number in range(count)]))
    whole = Interactions(
        found.user, found.span, found.candidates, found.labels, ids, np.arange(count) * 7, found.labelled
    )
    rules = [
        Rule("few", history=(1, 4)),
        Rule("people", users=rng.random(int(found.user.max()) + 1) < 0.7),
        Rule("things", items=rng.random(small.NUM_ITEMS) < 0.5),
    ]
    return whole, stored, rules


def by_hand(whole: Interactions, stored: Histories, rules: list[Rule]) -> list[tuple]:
    kept = []
    for row in range(len(whole)):
        length = int(stored.whole().lengths[whole.span[row]])
        shown = [
            (int(item), int(whole.labels[place]))
            for place, item in zip(
                range(whole.candidates.offsets[row], whole.candidates.offsets[row + 1]),
                whole.candidates[row],
                strict=True,
            )
            if all(rule.items is None or rule.items[item] for rule in rules)
        ]
        right = all(rule.users is None or rule.users[whole.user[row]] for rule in rules)
        for rule in rules:
            least, most = rule.history or (None, None)
            right &= (least is None or length >= least) and (most is None or length <= most)
        if right and shown:
            kept.append((row, int(whole.user[row]), int(whole.span[row]), f"imp{row}", 7 * row, shown))
    return kept


def read(found: Interactions) -> list[tuple]:
    offsets, labels = found.candidates.offsets, found.labels.tolist()
    return [
        (
            int(found.numbers[row]), int(found.user[row]), int(found.span[row]), found.ids[row],
            int(found.time[row]),
            list(zip(found.candidates[row].tolist(), labels[offsets[row] : offsets[row + 1]], strict=True)),
        )
        for row in range(len(found))
    ]  # fmt: skip


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 1], [2, 0], [0, 1, 2], [2, 1, 0]])
@pytest.mark.parametrize("block", [7, 1000])
def test_every_impression_is_judged_by_itself(chosen, block, monkeypatch):
    monkeypatch.setattr(filters, "ROWS", block)
    whole, stored, rules = given()
    rules = [rules[each] for each in chosen]
    kept = filtered(whole, stored, rules)
    assert read(kept.interactions) == by_hand(whole, stored, rules)
    before = len(whole)
    for place in range(len(rules)):  # each takes of what those before it have left
        after = len(by_hand(whole, stored, rules[: place + 1]))
        assert kept.dropped[place] == before - after
        before = after
    left = sum(len(whole.candidates[row]) for row in kept.interactions.numbers)
    assert kept.without == left - len(kept.interactions.candidates.values)


def test_the_line_counts_impressions_and_candidates():
    whole, stored, rules = given()
    kept = filtered(whole, stored, rules)
    line = kept.said(rules, "train", len(whole))
    count = len(kept.interactions)
    assert line.startswith(f"filters: {count} of 90 train impressions kept (few takes {kept.dropped[0]}; ")
    assert line.endswith(
        f"things takes {kept.dropped[2]}; {kept.without} candidates of the others are left out)"
    )


def test_a_history_is_judged_by_all_that_is_stored_and_not_by_the_cut():
    whole, stored, _ = given()
    cut = Histories(stored.clicks, stored.spans, 1)
    rule = [Rule("many", history=(3, None))]
    assert read(filtered(whole, cut, rule).interactions) == read(filtered(whole, stored, rule).interactions)


def test_filters_in_two_turns_are_those_in_one():
    whole, stored, rules = given()
    once = filtered(whole, stored, rules).interactions
    first = filtered(whole, stored, rules[:1]).interactions
    twice = filtered(first, stored, rules[1:]).interactions
    assert np.array_equal(twice.numbers, once.numbers)
    assert twice.candidates == once.candidates


def test_groups_are_the_numbers_in_the_store():
    whole, stored, rules = given()
    kept = filtered(whole, stored, rules).interactions
    ranked = Impressions(kept, stored, small.NUM_ITEMS)
    assert np.array_equal(np.unique(ranked.group), kept.numbers)
    batch, _ = ranked.batch(np.array([2, 0]))
    assert batch.group.tolist() == kept.numbers[[2, 0]].tolist()


def test_a_click_that_was_filtered_out_is_no_negative_and_neither_is_a_filtered_item():
    whole, stored, _ = given(count=120)
    items = np.arange(small.NUM_ITEMS) % 2 == 0
    kept = filtered(whole, stored, [Rule("even", items=items)]).interactions
    before = TrainingClicks(whole, stored, small.NUM_ITEMS)
    clicks = TrainingClicks(kept, stored, small.NUM_ITEMS, before=whole, allowed=items)
    assert set(before.eligible) > set(clicks.eligible) and items[clicks.eligible].all()
    stream = ClickStream(clicks, batch_size=16, num_negatives=2, positives_only=True)
    for number in stream.epoch(0):
        batch = stream.batch(number)
        drawn = batch.items[batch.candidates[:, 1:]].numpy()
        user = np.broadcast_to(batch.user.numpy()[:, None], drawn.shape)
        assert items[drawn].all()
        assert not before.known.contains(user, drawn).any()


def test_few_shots_are_whole_impressions_and_fewer_are_among_more():
    whole, stored, rules = given()
    some = {count: few_shots(whole, count, seed=3) for count in (1, 7, 40, len(whole))}
    for few, more in itertools.pairwise(some.values()):
        assert set(few.numbers) < set(more.numbers)
    assert np.array_equal(some[len(whole)].numbers, np.arange(len(whole)))
    assert some[len(whole)].candidates == whole.candidates
    for place, row in enumerate(some[7].numbers):
        start, stop = whole.candidates.offsets[row : row + 2]
        assert some[7].candidates[place].tolist() == whole.candidates[row].tolist()
        first = some[7].candidates.offsets[place]
        assert some[7].labels[first : first + stop - start].tolist() == whole.labels[start:stop].tolist()
    assert not np.array_equal(few_shots(whole, 7, seed=4).numbers, some[7].numbers)
    kept = filtered(whole, stored, rules[:1]).interactions
    assert set(few_shots(kept, 7, seed=3).numbers) < set(kept.numbers)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.56, 1.0])
def test_stratified_shots_have_the_labels_of_the_whole(share):
    """Every number of them, to the nearest impression, and fewer are among more."""
    whole, _, _ = given()
    first = whole.candidates.offsets[:-1]
    labels = np.zeros_like(whole.labels)
    clicked = np.random.default_rng(0).permutation(len(whole))[: round(share * len(whole))]
    labels[first[clicked]] = 1
    some, before = replace(whole, labels=labels), set()
    for count in range(1, len(whole) + 1):
        found = few_shots(some, count, seed=3, stratified=True)
        assert abs(found.labels.sum() - max(1.0, count * len(clicked) / len(whole))) <= 0.5 + 1e-9, count
        drawn = set(found.numbers.tolist())
        assert before < drawn
        before = drawn
    assert len({tuple(few_shots(some, 9, seed, True).numbers) for seed in range(5)}) == 5


def test_more_shots_than_there_are_or_none_with_a_click_are_refused():
    whole, _, _ = given()
    with pytest.raises(ValueError, match="`data.shots` must be at most the 90 impressions .* got 91"):
        few_shots(whole, 91, seed=3)
    labels = np.zeros_like(whole.labels)
    labels[whole.candidates.offsets[few_shots(whole, 90, seed=3).numbers[-1]]] = 1
    rare = replace(whole, labels=labels)
    with pytest.raises(ValueError, match="`data.shots`: none of the 2 drawn has a click"):
        few_shots(rare, 2, seed=3)
