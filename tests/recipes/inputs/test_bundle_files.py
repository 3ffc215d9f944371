"""Saved models with a base that stays behind, and with given vectors that go along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

import legorec
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from tests.support.causal import byte_level
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import one_thread
from tests.support.named_runs import EVERY, NamedModels
from tests.support.prompted import arguments as prompted_arguments
from tests.support.prompted import marked_store
from tests.support.runs import ROOT, finish, write_store
from tests.support.tiny import random_model

HISTORY, SHOWN = ["i1", "i2", "i5"], [f"i{number}" for number in range(60)]
# Without those whose vectors another stage writes.
NAMED = [name for name in EVERY if not name.startswith("cela-fused") and name != "tallrec-gru-bert"]
QUICK = ("lego_lstur", "joined-naml")
MARKED = ["liked", "disliked"]
SHORT = (
    "[{name: liked, history: '{name}', marks: [liked], last: 2}, {name: target, item: ' ? {name}'}, "
    "{name: cue, text: ' :'}, {name: answer, answer: [Yes, No]}]"
)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> NamedModels:
    return NamedModels(tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A saved model over the top layers of a BERT, what its run answered, the BERT and another one."""
    folder = tmp_path_factory.mktemp("towers")
    bert = write_language_model(folder / "bert", "bert").folder
    other = write_language_model(folder / "other", "bert", intermediate_size=40).folder
    store = write_language_store(folder / "store", bert=bert)
    places = store, bert, folder / "cache", folder / "runs"
    flags = {"layer": 0, "epoch": 1, "batch_size": 16}
    trained = legorec.load(finish(language_arguments(*places, "bert-nrms", "tt-llm", **flags)), device="cpu")
    saved, fresh = trained.save(folder / "saved"), new_item(trained)
    wanted = trained.recommend(HISTORY, k=60), trained.score(HISTORY, SHOWN), trained.score([fresh], SHOWN)
    shutil.rmtree(folder / "runs")
    shutil.rmtree(store)
    return saved, wanted, fresh, bert, other


def new_item(trained) -> dict[str, str]:
    items = trained.data.store.items
    category = trained.data.store.vocabulary("category")[items.field("category").rows[1][0]]
    return {"title": "w1 w2", "category": category}


def test_vectors_of_a_language_model_go_along_without_it(towers, tmp_path, monkeypatch):
    saved, (best, scores, _), fresh, _, _ = towers
    shutil.copytree(saved, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    moved = legorec.load("moved", device="cpu")
    assert moved.recommend(HISTORY, k=60) == best
    np.testing.assert_array_equal(moved.score(HISTORY, SHOWN), scores)
    with pytest.raises(ValueError, match="a new item is read by the language model.*model.source.checkpoint"):
        moved.score(HISTORY, [fresh])
    with pytest.raises(ValueError, match="loaded without its base"):
        moved.save(tmp_path / "again")


def test_with_its_base_it_reads_new_items_and_refuses_another(towers, tmp_path):
    saved, (best, scores, with_new), fresh, bert, other = towers
    place = json.loads((saved / "config.json").read_text())["base"]["place"]
    whole = legorec.load(saved, device="cpu", paths={place: bert})
    assert whole.recommend(HISTORY, k=60) == best
    np.testing.assert_array_equal(whole.score(HISTORY, SHOWN), scores)
    np.testing.assert_array_equal(whole.score([fresh], SHOWN), with_new)
    again = whole.save(tmp_path / "again")
    for name in ("config.json", "settings.yaml", "model.safetensors", "items.safetensors"):
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name
    with pytest.raises(ValueError, match="another checkpoint of the language model"):
        legorec.load(saved, device="cpu", paths={place: other})


def test_neither_base_nor_path_is_in_the_folder(towers):
    saved, _, _, bert, _ = towers
    whole = b"".join(file.read_bytes() for file in saved.rglob("*") if file.is_file())
    assert str(bert.parent).encode() not in whole
    weights = next(bert.glob("*.safetensors")).read_bytes()
    assert weights[-256:] not in whole


def test_a_prompted_model_from_scratch_is_whole(tmp_path):
    store = tmp_path / "store"
    marked_store(store, num_users=20, examples=3)
    run = finish(prompted_arguments(store, tmp_path / "runs", epoch=1))
    trained = legorec.load(run, device="cpu")
    wanted = trained.recommend(["1", "2"], k=9, marks=MARKED)
    saved = trained.save(tmp_path / "saved")
    shutil.rmtree(store)
    shutil.rmtree(tmp_path / "runs")
    moved = legorec.load(saved.rename(tmp_path / "moved"), device="cpu")
    assert moved.recommend(["1", "2"], k=9, marks=MARKED) == wanted and moved.data.store.marks.size == 0


def test_a_prompted_models_folder_holds_the_adapter_and_names_the_base(tmp_path):
    weights = {}
    for name, width in (("base", 48), ("other", 40)):
        model = random_model(
            "llama", head=True, vocab_size=400, max_position_embeddings=600, intermediate_size=width
        )
        model.save_pretrained(tmp_path / name)
        byte_level().save(str(tmp_path / name / "tokenizer.json"))
        weights[name] = tmp_path / name
    store = tmp_path / "store"
    marked_store(store, num_users=20, examples=3)
    add_tokenization(store, "name", TokenizerChoice("llama", weights["base"]))
    files = {"data": "data/tallrec-movie", "model": "model/tallrec-lora", "exp": "exp/tallrec"}
    given = {key: f"{ROOT}/config/{file}.yaml" for key, file in files.items()}
    given |= {"data.store": store, "runs": tmp_path / "runs", "device": "cpu", "lm_path": weights["base"]}
    given |= {"model.prompt.segments": SHORT, "epoch": 1, "batch_size": 16, "lr": 1e-2, "lora_r": 2}
    run = finish([part for key, value in given.items() for part in (f"--{key}", str(value))])
    trained = legorec.load(run, device="cpu")
    wanted = trained.recommend(["1", "2"], k=9, marks=MARKED)
    saved = trained.save(tmp_path / "saved")
    shutil.rmtree(store)
    shutil.rmtree(tmp_path / "runs")
    place = "model.language_model.checkpoint"
    moved = legorec.load(saved, device="cpu", paths={place: weights["base"]})
    assert moved.recommend(["1", "2"], k=9, marks=MARKED) == wanted
    assert (saved / "model.safetensors").stat().st_size < 40_000
    with pytest.raises(ValueError, match="another checkpoint of the language model"):
        legorec.load(saved, device="cpu", paths={place: weights["other"]})
    weights["base"].rename(tmp_path / "aside")  # beside the saved model it would be found
    with pytest.raises(ValueError, match=f"needs its base: name base .digest .*'{place}': FOLDER"):
        legorec.load(saved, device="cpu")


def test_given_vectors_go_along(tmp_path):
    store = legorec.Store.open(write_store(tmp_path / "store"))
    vectors = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    flags = {"epoch": 1, "batch_size": 16, "hidden_size": 16, "heads": 4, "device": "cpu"}
    run = legorec.train(store, vectors=vectors, runs=tmp_path / "runs", **flags)
    wanted = run.recommender.recommend(HISTORY, k=60)
    saved = run.recommender.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "store")
    assert legorec.load(saved, device="cpu").recommend(HISTORY, k=60) == wanted
    table = saved / "tables" / "0.safetensors"
    table.write_bytes(table.read_bytes()[:-1] + b"\1")
    with pytest.raises(ValueError, match="0.safetensors: its content was altered"):
        legorec.load(saved, device="cpu")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in QUICK else [pytest.mark.slow]) for each in NAMED]
)
def test_every_named_model_travels_or_says_why_not(named, name, tmp_path):
    run = finish(named.command(name, epoch=1, runs=tmp_path / "runs"))
    trained = legorec.load(run, device="cpu")
    assert len(NAMED) > 60 and set(QUICK) <= set(NAMED)
    try:
        saved = trained.save(tmp_path / "saved")
    except ValueError as error:
        assert "\n" not in str(error) and not (tmp_path / "saved").exists()
        assert trained.model.reads_user or (trained.model.reads_states and trained.data.language_model)
        return
    assert not trained.model.reads_user
    wanted = trained.recommend(HISTORY, k=60), trained.score(HISTORY, SHOWN)
    moved = legorec.load(saved.rename(tmp_path / "moved"), device="cpu")
    assert moved.recommend(HISTORY, k=60) == wanted[0]
    np.testing.assert_array_equal(moved.score(HISTORY, SHOWN), wanted[1])
    assert str(named.folder).encode() not in b"".join(
        file.read_bytes() for file in (tmp_path / "moved").rglob("*") if file.is_file()
    )
