"""A memory error in ranking halves the page and goes on to the same ranking (R21)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from legorec.batch import Ranking
from legorec.data.evaluation import Impressions
from legorec.halving import NoMemoryError
from legorec.recommender import Recommender
from legorec.scorers.untrained import RandomBaseline
from tests.scorers.test_clicks import uneven
from tests.scorers.test_clicks_extras import EveryPredictor, EveryUser, model_of, several
from tests.support import small
from tests.support.ranking import rank
from tests.support.runs import ROOT
from tests.support.short_memory import CPU, ERRORS, shorten

SIZES = {"batch_size": 16, "item_page_size": 16}
BATCH, PAGE = "--exp.evaluation.batch_size", "--exp.evaluation.item_page_size"
SAID = r"out of memory with (\S+) 16; going on with \1 (\d+), which gives the same result"


MODELS: dict[str, Callable[[], tuple[Recommender, Impressions]]] = {
    "nrms": lambda: (small.recommender("nrms"), uneven()),
    "naml": lambda: (small.recommender("naml"), uneven()),
    "extras": lambda: (model_of(EveryUser(), EveryPredictor()), several()),
}


@pytest.mark.parametrize(
    ("place", "fast", "limit", "setting", "error"),
    [
        ("items", True, 5, PAGE, "cuda"),
        ("users", True, 5, BATCH, "cpu"),
        ("pairs", True, 300, BATCH, "python"),
        ("batches", False, 5, BATCH, "cuda"),
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_r21_the_ranking_is_that_of_the_smaller_size(monkeypatch, name, place, fast, limit, setting, error):
    """To the bit, where each half of a page is a page of that size; to rounding, that of the larger one."""
    model, data = MODELS[name]()
    whole, said = rank(model, data, fast=fast, **SIZES), []
    with monkeypatch.context() as patch:
        asked = shorten(patch, place, limit, ERRORS[error])
        found = rank(model, data, fast=fast, **SIZES, say=said.append)
    assert sum(each > limit for each in asked) == np.log2(16 / size_said(said, setting))
    smaller = rank(model, data, fast=fast, **{**SIZES, argument(setting): size_said(said, setting)})
    assert np.array_equal(found.score, smaller.score)
    np.testing.assert_allclose(found.score, whole.score, rtol=1e-5, atol=1e-6)
    assert same_rows(found, whole)


def size_said(said: list[str], setting: str) -> int:
    """The size that worked, of the one line that was said."""
    (line,) = said
    found = re.fullmatch(SAID, line)
    assert found and found[1] == setting, line
    return int(found[2])


def argument(setting: str) -> str:
    return setting.rpartition(".")[2]


def same_rows(one: Ranking, other: Ranking) -> bool:
    return np.array_equal(one.group, other.group) and np.array_equal(one.label, other.label)


@pytest.mark.parametrize("limit", [2, 7])
def test_r21_all_at_once_and_an_uneven_number(monkeypatch, limit):
    """Sizes that do not divide one another: pages are others than from the beginning, scores the same."""
    model, data, said = small.recommender(), uneven(), []
    whole = rank(model, data, batch_size=100, item_page_size=100)
    asked = shorten(monkeypatch, "items", limit)
    users = shorten(monkeypatch, "users", limit)
    found = rank(model, data, batch_size=100, item_page_size=100, say=said.append)
    np.testing.assert_allclose(found.score, whole.score, rtol=1e-5, atol=1e-6)
    assert len(said) == 2 - (max(users) <= limit) and max(asked) > limit


def test_r21_one_history_of_many_impressions_is_scored_in_smaller_pages(monkeypatch):
    """As where all are cold: there is one empty history, which cannot be halved."""
    found, _ = small.interactions()
    data = Impressions(found, several().histories, small.NUM_ITEMS)
    data.interactions.span[:] = 0
    model, said = small.recommender(), []
    whole = rank(model, data)
    asked = shorten(monkeypatch, "pairs", 70)
    np.testing.assert_allclose(rank(model, data, say=said.append).score, whole.score, rtol=1e-5, atol=1e-6)
    assert max(asked) > 70 and said == [
        f"out of memory with {BATCH} 256; going on with {BATCH} 1, which gives the same result"
    ]


@pytest.mark.parametrize(
    ("place", "fast", "what", "setting"),
    [
        ("items", True, "row {item} of the items", PAGE),
        ("users", True, "row {user} of the users", BATCH),
        ("pairs", True, "row {user} of the users", BATCH),
        ("batches", False, "impression 0 of the split", BATCH),
    ],
)
def test_r21_what_does_not_fit_alone_is_named(monkeypatch, place, fast, what, setting):
    model, data = small.recommender(), uneven()
    shown = data.interactions
    history, mask = data.histories.padded(shown.span)
    item = min(shown.candidates.values.min(), history[mask].min())
    # The first one to be encoded: with the shortest history, and of these with the first in the store.
    spans = np.unique(shown.span)
    span = spans[np.argmin(data.histories.lengths[spans])]
    user = shown.user[shown.span == span][0]
    shorten(monkeypatch, place, 0)
    with pytest.raises(NoMemoryError) as raised:
        rank(model, data, fast=fast, **SIZES)
    named, reason = what.format(item=item, user=user), "CUDA out of memory. Tried to allocate 2.00 GiB"
    assert str(raised.value).startswith(
        f"out of memory with {named} alone ({reason}), so that {setting} cannot be halved any more; "
    )
    assert model.training


@pytest.mark.parametrize(
    "place, fast", [("items", True), ("users", True), ("pairs", True), ("batches", False)]
)
def test_r21_any_other_error_passes_through(monkeypatch, place, fast):
    def wrong() -> Exception:
        return RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")

    asked = shorten(monkeypatch, place, 0, wrong)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        rank(small.recommender(), uneven(), fast=fast, **SIZES)
    assert len(asked) == 1


def test_r21_the_batches_of_another_model_stay_whole(monkeypatch):
    """What RandomBaseline draws depends on the batch: halves would have other scores."""
    monkeypatch.setattr(
        RandomBaseline, "forward", lambda self, batch: (_ for _ in ()).throw(RuntimeError(CPU))
    )
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        rank(RandomBaseline(1), uneven())


def test_r21_after_halving_the_first_part_of_the_next_page_is_fetched(monkeypatch):
    model, fetched = small.recommender(), []
    monkeypatch.setattr(model, "prefetch", lambda items: fetched.append(len(items)))
    shorten(monkeypatch, "items", 8)
    rank(model, uneven(), item_page_size=16, say=lambda text: None)
    assert fetched == [16, 8, 8]


def test_r21_nothing_is_said_or_cut_where_there_is_room(monkeypatch):
    model, said = small.recommender(), []
    asked = shorten(monkeypatch, "items", 16)
    rank(model, uneven(), **SIZES, say=said.append)
    assert said == [] and asked[:-1] == [16] * (len(asked) - 1)


# Where the allocator itself refuses: the process may grow by less than all items at once would take.
REAL = """
import resource
from pathlib import Path
import numpy as np
from tests.support.ranking import rank
from legorec.sources.table import TableSource
from tests.support import small

small.NUM_ITEMS = 20_000
model = small.recommender(dim=128)
model.source = TableSource(small.catalog(num_items=small.NUM_ITEMS), embed_dim=128)
data = small.impressions(count=4000)
wanted = rank(model, data, item_page_size=256).score
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20, -1))
found = rank(model, data, item_page_size=small.NUM_ITEMS, say=print).score
print("difference", float(np.abs(found - wanted).max()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="its limit on a process's memory is that of Linux")
def test_r21_a_process_that_may_not_grow_ranks_the_same():
    done = subprocess.run([sys.executable, "-c", REAL], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert f"out of memory with {PAGE} 20000; going on with {PAGE} " in done.stdout
    assert float(done.stdout.split()[-1]) <= 1e-6
