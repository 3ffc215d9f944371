"""A language model behind an endpoint as a recommender: asked about each candidate once, and ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legorec.data.store import Store
from tests.support.causal import byte_level, fast, speaking
from tests.support.prompted import TITLES, marked_store
from tests.support.raw_files import candidates, history
from tests.support.runs import ROOT, finish, refused
from tests.support.text_server import Reply, TextServer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return marked_store(tmp_path_factory.mktemp("marked") / "store", num_users=12, examples=3)


def command(store: Store, url: str, folder: Path, runs: str = "runs", **flags: Any) -> list[str]:
    files = {"data": "data/tallrec-movie", "model": "model/tallrec-asked", "exp": "exp/tallrec-test"}
    given = {name: f"{ROOT}/config/{file}.yaml" for name, file in files.items()}
    given |= {"data.store": store.path, "device": "cpu", "tokenizer": "words", "runs": folder / runs}
    given |= {"base_url": url, "llm": "small", "key_env": "null", "log": folder / "answers.jsonl"}
    given |= {"exp.evaluation.batch_size": 7} | flags
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


ASKED = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\nGiven the user's "
    "preference and unpreference, identify whether the user will like the target movie by answering "
    '"Yes." or "No.".\n\n### Input:\nUser Preference: {}\nUser Unpreference: {}\nWhether the user will like '
    "the target movie {}?\n\n### Response:\n"
)


def asked_for(store: Store) -> list[str]:
    """Every prompt of the test split, written from the raw data."""
    found = []
    for row in range(len(store.interactions("test"))):
        span = store.spans[store.interactions("test").span[row]]
        clicks = [f'"{TITLES[int(item)]}"' for item in history(store, "test", row)][-10:]
        marks = store.marks[slice(*span)].tolist()[-10:]
        liked, disliked = (
            ", ".join(text for text, mark in zip(clicks, marks, strict=True) if mark == wanted)
            for wanted in (1, 0)
        )
        (target,) = candidates(store, "test", row)
        found.append(ASKED.format(liked, disliked, f'"{TITLES[int(target)]}"'))
    return found


def measured(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())["test"]["metrics"]


def test_each_candidate_is_asked_about_once_and_the_log_answers_again(store: Store, tmp_path: Path) -> None:
    """A server that knows the labels: yes where it is liked, and the more surely the shorter the prompt."""
    prompts = asked_for(store)
    labels = dict(zip(prompts, store.interactions("test").labels.tolist(), strict=True))
    with TextServer(answer=lambda prompt: "Yes." if labels[prompt] else "No, never.") as server:
        first = finish(command(store, server.url, tmp_path))
        assert sorted(each.prompt for each in server.asked) == sorted(set(prompts))
        assert all(each.body["max_tokens"] == 4 and each.body["logprobs"] for each in server.asked)
        count = len(server.asked)
        again = finish(command(store, server.url, tmp_path, "again"))
        assert len(server.asked) == count
    assert measured(first) == measured(again) == {"auc": 1.0, "gauc": 1.0}
    assert "zero-shot" in (first / "run.log").read_text()
    baselines = json.loads((first / "metrics.json").read_text())["baselines"]
    assert {"likes_ratio", "popularity"} <= set(baselines)


@pytest.mark.parametrize("text", ["Perhaps.", "Yes."])
def test_one_answer_to_all_is_no_ranking(store: Store, tmp_path: Path, text: str) -> None:
    with TextServer(answer=lambda prompt: text) as server:
        run = finish(command(store, server.url, tmp_path))
    assert measured(run) == {"auc": 0.5, "gauc": 0.5}
    assert ("answers say neither" in (run / "run.log").read_text()) == (text == "Perhaps.")


def test_requests_that_fail_score_nothing_and_are_told(store: Store, tmp_path: Path) -> None:
    """Those of disliked items: no answer is between a yes and a no."""
    labels = dict(zip(asked_for(store), store.interactions("test").labels.tolist(), strict=True))

    def reply(asked: Any) -> Reply:
        return Reply(texts=("yes",)) if labels[asked.prompt] else Reply(status=400)

    with TextServer(reply) as server:
        run = finish(command(store, server.url, tmp_path, **{"model.generator.retries": 0}))
    count = int((store.interactions("test").labels == 0).sum())
    assert f"{count} answers say neither, {count} of them did not come" in (run / "run.log").read_text()
    assert measured(run)["auc"] == 1.0


def test_a_budget_ends_it_and_what_was_answered_stays(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TextServer(answer=lambda prompt: "Yes.") as server:
        refused(
            command(store, server.url, tmp_path, max_requests=5),
            capsys,
            "not all candidates were asked about",
        )
        assert len(server.asked) == 5
        finish(command(store, server.url, tmp_path, "again"))
        assert len(server.asked) == len(set(asked_for(store)))


def test_a_local_model_is_asked_in_the_same_way(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    speaking().save_pretrained(folder)
    fast(byte_level()).save_pretrained(folder)
    local = {"model.generator": f"{{kind: local, checkpoint: {folder}}}", "model.prompt.segments": SHORT}
    argv = command(store, "", tmp_path, **local)
    for name in ("--base_url", "--llm", "--key_env"):  # of an endpoint
        del argv[argv.index(name) : argv.index(name) + 2]
    run = finish(argv)
    assert set(measured(run)) == {"auc", "gauc"}
    assert "say neither" not in (run / "run.log").read_text(), "it is held to the two answers"


SHORT = "[{name: a, item: '{name}'}, {name: b, answer: [Yes., No.]}]"
NO_WAY = "[{name: a, item: '{name}'}, {name: b, answer: [No., no way]}]"
NO_FIELD = "[{name: a, item: '{nam}'}, {name: b, answer: [Yes, No]}]"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"exp.mode": "train_test"}, "'asked'"),
        ({"model.prompt.segments": NO_WAY}, "two different words"),
        ({"model.prompt.segments": "[{name: a, item: '{name}'}]"}, "must end with an `answer`"),
        ({"model.prompt.segments": NO_FIELD}, "no field 'nam'"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, Any], message: str
) -> None:
    refused(command(store, "http://localhost:1/v1", tmp_path, **flags), capsys, message)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "answers.jsonl").exists()
