"""A loaded recommender in many threads, as a copy, as a pickle and after a fork."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AttentionInterface

import worker
from legorec.lm.attention import SHORT_ROWS
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.settings import read_command_line
from tests.support.forking import in_a_fork
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import WORDS, arguments, write_store

NAMED = ("lego_naml", "llama-nrms", "bert-iisan-naml")
KNOWN = [f"i{number}" for number in range(12)]


def recommender(argv: list[str]) -> TrainedRecommender:
    """Of random weights, which is as good here as trained."""
    settings = read_command_line(argv)
    data = open_data(settings)
    return TrainedRecommender(build_model(settings, data, torch.device("cpu")).eval(), data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of words, one of cached states below trained layers, and one of cached means at all depths."""
    folder = tmp_path_factory.mktemp("copies")
    for name in ("llama", "bert"):
        write_language_model(folder / name, name)
    store = write_language_store(folder / "store", llama=folder / "llama", bert=folder / "bert")
    found = {"lego_naml": recommender(arguments(store, folder / "runs", model="lego_naml"))}
    for name in NAMED[1:]:
        kind, places = (
            name.partition("-")[0],
            (store, folder / name.partition("-")[0], folder / "cache", folder),
        )
        cached = {} if "iisan" in name else {"exp__cache__layers": "[-1]"}
        assert worker.main(language_arguments(*places, model=name, exp=f"{kind}-split", **cached)) == 0
        layer = {} if "iisan" in name else {"layer": -1, "lora_r": 2}
        found[name] = recommender(language_arguments(*places, model=name, exp="tt-llm", **layer))
    return found


@pytest.fixture(params=NAMED)
def asked(made, request):
    return made[request.param]


def new_items(number: int) -> list[dict[str, str]]:
    """As many as no other request has, each with its own number of words."""
    words = WORDS[number:] + WORDS[:number]
    return [{"title": " ".join(words[: 1 + (each + number) % 6])} for each in range(2 + number % 5)]


def answer(model: TrainedRecommender, number: int) -> np.ndarray:
    return model.score(KNOWN[number % 7 : number % 7 + 3], [*KNOWN[: number % 4], *new_items(number)])


@pytest.mark.slow
def test_thirty_two_threads_get_the_answers_of_one(asked):
    wanted = [answer(asked, number) for number in range(32)]
    fresh = TrainedRecommender(asked.model, asked.data)  # whose items are encoded by the first who asks
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda number: answer(fresh, number), range(32)))
    for mine, theirs in zip(wanted, found, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMED[1:])
def test_two_passes_that_overlap_do_not_meet(made, name, monkeypatch):
    """Each waits for the other in the middle of its pass through the lower layers."""
    model, meet = made[name], threading.Barrier(2)
    wanted = [answer(model, number) for number in (1, 4)]
    plain = torch.nn.functional.embedding

    def embedding(*args, **kwargs):
        try:
            meet.wait(5)
        except threading.BrokenBarrierError:
            pass  # the other one is done
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "embedding", embedding)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda number: answer(model, number), (1, 4)))
    for mine, theirs in zip(wanted, found, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=0, atol=1e-6)


def test_a_copy_and_a_pickle_answer_the_same_and_are_their_own(asked, monkeypatch, tmp_path):
    wanted = answer(asked, 3)
    whole = pickle.dumps(asked)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(AttentionInterface._global_mapping, SHORT_ROWS, raising=False)  # as in a new process
    copies = [copy.deepcopy(asked), pickle.loads(whole)]
    for each in copies:
        np.testing.assert_array_equal(answer(each, 3), wanted)
        assert each.recommend(KNOWN[:2], k=5) == asked.recommend(KNOWN[:2], k=5)
        with torch.no_grad():
            for value in each.model.parameters():
                value.add_(torch.ones((), dtype=value.dtype))
            each.item_vectors.zero_()
        assert not np.array_equal(answer(each, 3), wanted)
    np.testing.assert_array_equal(answer(asked, 3), wanted)


def test_a_pickle_names_the_store_and_does_not_hold_it(made):
    model = made["lego_naml"]
    files = sum(path.stat().st_size for path in (model.data.store.path / "interactions").rglob("*"))
    assert files > 0 and b"interactions/train" not in pickle.dumps(model.data)
    again = pickle.loads(pickle.dumps(model.data))
    assert (
        again.store.path.is_absolute()
        and again.histories.clicks.tolist() == model.data.histories.clicks.tolist()
    )
    assert copy.deepcopy(model.data).store is model.data.store


def test_a_pickle_of_a_store_that_was_replaced_is_refused(tmp_path):
    model = recommender(arguments(write_store(tmp_path / "store"), tmp_path / "runs"))
    whole = pickle.dumps(model)
    (tmp_path / "store").rename(tmp_path / "old")
    with pytest.raises(ValueError, match="store: there is no such folder"):
        pickle.loads(whole)
    write_store(tmp_path / "store", seed=1)
    with pytest.raises(ValueError, match="the store was replaced since this was pickled"):
        pickle.loads(whole)


def test_a_forked_process_answers(asked):
    """In the parent, torch and the tokenizers have worked in threads, which do not go along."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wide = torch.ones(600, 600)
        assert float((wide @ wide)[0, 0]) == 600
        wanted, best = answer(asked, 5), asked.recommend(KNOWN[:2], k=4)

        def child() -> list:
            return [answer(asked, 5).tolist(), [each.item for each in asked.recommend(KNOWN[:2], k=4)]]

        scores, items = in_a_fork(child)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)
    assert items == [each.item for each in best]


@pytest.mark.slow
def test_a_pickle_is_read_in_a_new_process(asked, tmp_path):
    (tmp_path / "model").write_bytes(pickle.dumps(asked))
    program = (
        "import pickle, sys\n"
        "model = pickle.load(open('model', 'rb'))\n"
        "print(model.score(['i1', 'i2'], ['i3', {'title': 'w1 w2'}]).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = asked.score(["i1", "i2"], ["i3", {"title": "w1 w2"}])
    np.testing.assert_allclose(json.loads(done.stdout), wanted, rtol=0, atol=1e-6)
