"""Rows that begin alike are read once up to where they part, and their scores are those of whole rows."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenBatch
from legorec.lm import shared_prefix
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.model_types import FAMILIES
from legorec.lm.shared_prefix import shared_lengths
from legorec.lm.untrained import Untrained
from tests.lm.types import EVERY, LATER, UNEVEN, WINDOW
from tests.support.tiny import tiny

OFF = LoRA(enabled=False)
PREFIXES, SIZES = (9, 5, 7, 0), ((3, 1, 4), (2, 2), (5,), (3, 2))  # of each list, and what its rows have more
UNSHARED = {name for name, family in FAMILIES.items() if not family.shares_prefixes}
HEADLESS = ("phi", "gpt_neox", "modernbert-decoder")  # a bias, or a name that prompts do not read
NAMES = [getattr(name, "values", [name])[0] for name in EVERY]
CAUSAL = [
    each for each, name in zip(EVERY, NAMES, strict=True) if FAMILIES[name].causal and name not in HEADLESS
]


def drawn_lists(prefixes=PREFIXES, sizes=SIZES, vocab=97, seed=0):
    """Lists of rows that begin alike, and the list of each row."""
    rng = np.random.default_rng(seed)
    rows, lists = [], []
    for number, (prefix, more) in enumerate(zip(prefixes, sizes, strict=True)):
        begin = rng.integers(3, vocab, prefix)
        for place, size in enumerate(more):
            own = rng.integers(3, vocab, size)
            own[0] = 3 + (own[0] + place) % (vocab - 3) if size else 0
            rows.append(np.concatenate([begin, own]))
            lists.append(number)
    count = len(rows)
    batch = TokenBatch(
        torch.from_numpy(np.concatenate(rows)), torch.tensor([len(row) for row in rows]),
        torch.zeros(0, dtype=torch.int64), {}, torch.arange(count), torch.zeros(count),
    )  # fmt: skip
    return batch, np.array(lists)


@pytest.fixture(autouse=True)
def any_saving(monkeypatch):
    """So few tokens would not be worth it."""
    monkeypatch.setattr(shared_prefix, "OVERHEAD", {"cpu": 0})


@pytest.fixture
def passes(monkeypatch):
    """The tokens of each pass over rows that come after others, or that others come after."""
    found, run = [], CausalModel.padded

    def counted(self, ids, lengths, past):
        found.append(len(ids))
        return run(self, ids, lengths, past)

    monkeypatch.setattr(CausalModel, "padded", counted)
    return found


def both_ways(model, batch, lists):
    with torch.inference_mode():
        return model(batch), model.score_lists(batch, lists)


@pytest.mark.parametrize("name", CAUSAL)
def test_scores_are_those_of_whole_rows_in_every_family(name, tmp_path, passes):
    model = CausalModel(tiny(name, tmp_path, head=True), (11, 5), lora=OFF).eval()
    batch, lists = drawn_lists()
    whole, shared = both_ways(model, batch, lists)
    assert torch.allclose(whole, shared, atol=1e-5), (whole - shared).abs().max()
    assert whole.std() > 1e-4
    assert (sum(passes) == 0) == (name in UNSHARED)


@pytest.mark.parametrize("name", [*UNEVEN, *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)])
def test_windows_and_layers_of_several_kinds(name, tmp_path, passes):
    """Rows within the window begin once; longer ones are read whole, in the same call."""
    model_type, changes = (UNEVEN | LATER)[name]
    if not FAMILIES[model_type].causal or model_type in HEADLESS:
        pytest.skip("it does not answer prompts")
    model = CausalModel(tiny(model_type, tmp_path, head=True, **changes), (11, 5), lora=OFF).eval()
    batch, lists = drawn_lists((3, 2, 9), ((1, 1, 1), (2, 2), (3, 1, 2)))
    whole, shared = both_ways(model, batch, lists)
    assert torch.allclose(whole, shared, atol=1e-5)
    windowed = changes.get("sliding_window") == WINDOW
    assert sum(passes) == (0 if model_type in UNSHARED else 5 + 7 if windowed else 14 + 13)


@pytest.fixture
def llama(tmp_path):
    return tiny("llama", tmp_path, head=True)


@pytest.mark.parametrize("changes", [
    {"layer": 2}, {"dtype": "bf16"}, {"attention": "sdpa"}, {"attention": "eager"},
    {"lora": LoRA(r=2, alpha=4.0)}, {"lora": LoRA(r=2, alpha=4.0), "layer": 1},
], ids=str)  # fmt: skip
def test_layers_adapters_precision_and_attention(llama, changes, passes):
    torch.manual_seed(0)
    model = CausalModel(llama, (11, 5), **({"lora": OFF} | changes)).eval()
    for name, value in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(value)
    whole, shared = both_ways(model, *drawn_lists())
    loose = changes.get("dtype") == "bf16"
    assert torch.allclose(whole, shared, atol=2e-2 if loose else 1e-5)
    assert (sum(passes) == 0) == (changes.get("attention") == "eager")


def test_autocast_and_a_model_from_scratch(passes):
    torch.manual_seed(0)
    model = CausalModel(Untrained(97, 16, 2, 2), (11, 5), lora=OFF).eval()
    batch, lists = drawn_lists()
    whole, shared = both_ways(model, batch, lists)
    assert torch.allclose(whole, shared, atol=1e-5) and sum(passes)
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_shared = both_ways(model, batch, lists)
    assert torch.allclose(rough, rough_shared, atol=5e-2) and torch.allclose(whole, rough, atol=2e-1)


def test_each_prefix_is_read_once(llama, passes):
    model = CausalModel(llama, (11, 5), lora=OFF).eval()
    both_ways(model, *drawn_lists((9, 9), ((3, 3, 3), (3, 3))))
    assert sorted(passes) == [15, 18], "two prefixes of 9 tokens, then five ends of 3"


def test_what_rows_have_in_common():
    """All but one token at most; lists of one row, and those that begin otherwise, share nothing."""
    rows = [[1, 2, 3, 4], [1, 2, 3, 5, 6], [1, 2, 9], [7, 8], [1, 2], [1, 2], [4, 4], [5, 4]]
    lists = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    tokens, lengths = np.concatenate(rows), np.array([len(row) for row in rows])
    assert shared_lengths(tokens, lengths, lists, "cpu").tolist() == [2, 2, 2, 0, 1, 1, 0, 0]
    assert not len(shared_lengths(tokens[:0], lengths[:0], lists[:0], "cpu"))


def test_a_prefix_that_saves_nothing_is_not_shared(monkeypatch):
    batch, lists = drawn_lists((20, 20), ((1, 1, 1), (1, 1)))
    args = (batch.tokens.numpy(), batch.lengths.numpy(), lists, "cpu")
    monkeypatch.setattr(shared_prefix, "OVERHEAD", {"cpu": 30})
    assert shared_lengths(*args).tolist() == [20, 20, 20, 0, 0]
