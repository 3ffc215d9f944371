"""Items named by position among the distinct ones of a batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from legorec.batch import ClickBatch
from legorec.data.collate import collate


def batch(seed: int, rows: int, clicks: int, shown: int, num_items: int) -> tuple[dict, ClickBatch]:
    """What went in, and the batch that came out; where a mask is False stands what is no item at all."""
    rng = np.random.default_rng(seed)
    given_ = {
        "history": rng.integers(0, num_items, (rows, clicks)),
        "history_mask": rng.random((rows, clicks)) < 0.6,
        "candidates": rng.integers(0, num_items, (rows, shown)),
        "candidate_mask": rng.random((rows, shown)) < 0.8,
    }
    for name, mask in (("history", "history_mask"), ("candidates", "candidate_mask")):
        given_[name][~given_[mask]] = -(10**6)
    numbers = {name: np.arange(rows, dtype=np.int32) for name in ("user", "group", "span")}
    labels = rng.random((rows, shown)) < 0.3
    return given_, collate(*given_.values(), labels, **numbers, number=4)


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 5), st.integers(0, 5), st.integers(1, 30))
def test_positions_lead_back_to_the_items(seed: int, rows: int, clicks: int, shown: int, items: int) -> None:
    went_in, found = batch(seed, rows, clicks, shown, items)
    for name, mask in (("history", "history_mask"), ("candidates", "candidate_mask")):
        kept = went_in[mask]
        places = getattr(found, name)
        assert torch.equal(getattr(found, mask), torch.from_numpy(kept))
        assert found.items[places[torch.from_numpy(kept)]].tolist() == went_in[name][kept].tolist()
        assert not places[torch.from_numpy(~kept)].any()  # padding names an item that is there, if any is
    used = {item for name, mask in (("history", "history_mask"), ("candidates", "candidate_mask"))
            for item in went_in[name][went_in[mask]].tolist()}  # fmt: skip
    assert found.items.tolist() == sorted(used)


def test_types_are_those_that_models_take() -> None:
    _, found = batch(0, 3, 4, 2, 9)
    for name in ("items", "history", "candidates", "user", "group", "span"):
        assert getattr(found, name).dtype == torch.int64, name
    assert found.labels.dtype == torch.float32 and found.number == 4
