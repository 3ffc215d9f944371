"""The costs of CELA are counted where language models run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.cela import Figures, counting, end_to_end, page
from legorec.data.ragged import Ragged
from legorec.lm.tables import item_vectors
from legorec.lm.whole import WholeModel
from legorec.settings import read_command_line
from tests.support.texts import clicks
from tests.support.tiny import packed_ids


def test_every_text_is_counted_once(checkpoint) -> None:
    lengths = [3, 7, 1, 7]
    ids, sizes = packed_ids(lengths)
    with counting() as counted:
        WholeModel(checkpoint("bert"))(ids, sizes)
        assert counted.texts == 4
        item_vectors(checkpoint("bert"), Ragged.from_lengths(ids.int().numpy(), lengths), "cls")
        assert counted.texts == 8
        torch.nn.Linear(2, 2)(torch.zeros(4, 2))
    WholeModel(checkpoint("bert"))(ids, sizes)
    assert counted.texts == 8


def test_end_to_end_is_every_click_and_the_clicked_item(store: Path, tmp_path: Path) -> None:
    settings = read_command_line(clicks(store, tmp_path))
    assert end_to_end(settings, 0) == 120
    few, all_of_them = end_to_end(settings, 2), end_to_end(settings, 99)
    assert 120 < few < all_of_them <= 120 * 7


def test_the_page_shows_both_ratios() -> None:
    text = page(Figures(alignment=1_682, end_to_end=88_000, clicks=0, fields=0.2, fused=0.25))
    assert "| end to end over aligned | 52 |" in text and "| 0.250 | 1.25 |" in text
    assert pytest.approx(88_000 / 1_682, abs=0.5) == 52
