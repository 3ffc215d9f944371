"""Instructions as prompts: free responses are learned, and TALLRec's files ask what the store asks."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worker
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.prompts import PromptVocabulary
from legorec.recipes.inputs.made_prompts import make_prompt, text_of
from legorec.recipes.inputs.store_data import opened
from legorec.recipes.prompted import layer_of
from legorec.settings import read_command_line
from process.instructions import main as instructions
from process.tallrec import main as tallrec
from tests.process.test_instructions import save
from tests.process.test_movielens import write_100k
from tests.process.test_tallrec import MOVIES, ratings
from tests.prompts.test_prompt import words
from tests.recipes.test_prompted_checkpoint import SHORT, weights  # noqa: F401 - a fixture
from tests.support.launching import one_thread
from tests.support.prompted import marked_store
from tests.support.raw_files import made, shared
from tests.support.runs import ROOT, differences, finish, run_folders

QUIRK = "  # noqa: E501"
ASKED = ("ripe", "raw", "old", "new")


def tasks(number: int, seed: int = 0) -> list[dict[str, str]]:
    """Free responses that follow from the input, some of them long, some inputs empty."""
    rng = np.random.default_rng(seed)
    words = rng.choice(ASKED, number).tolist()
    return [
        {
            "instruction": "Say the word back twice." if word != "new" else "Say new at once.",
            "input": "" if word == "new" else f"The word is {word}",
            "output": f"{word} and {word}" if word != "new" else "new",
        }
        for word in words
    ]


@pytest.fixture(scope="module")
def alpaca(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:  # noqa: F811
    """A store of free responses, with words and the tokens of a checkpoint."""
    folder = tmp_path_factory.mktemp("alpaca")
    how = ("--tokenizer", "words", "--tokenizer", f"llama={weights}", "--dev_share", 0.25)
    return made(instructions, folder / "store", "--train", save(folder / "a.json", tasks(64)), *how).path


def argv(model: str, exp: str, store: Path, /, data: str = "instructions", **flags: Any) -> list[str]:
    files = {"data": data, "model": model, "exp": exp}
    given = {layer: f"{ROOT}/config/{layer}/{name}.yaml" for layer, name in files.items()}
    given |= {"data.store": store, "device": "cpu", "epoch": 2, "batch_size": 8, "lr": 1e-2} | flags
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def epochs(run: Path) -> list[dict[str, float]]:
    with open(run / "epochs.csv") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("simple_dev", ["true", "false"])
def test_free_responses_are_learned_and_measured_by_their_loss(
    alpaca: Path, tmp_path: Path, simple_dev: str
) -> None:
    with one_thread():
        run = finish(
            argv("instructions-scratch", "instructions", alpaca, tokenizer="words", runs=tmp_path, epoch=6,
                 simple_dev=simple_dev)
        )  # fmt: skip
    rows, measured = epochs(run), json.loads((run / "metrics.json").read_text())["dev"]["metrics"]
    name = "dev_loss" if simple_dev == "true" else "logloss"
    assert rows[-1][name] < 0.5 * rows[0][name], "the words to say are given"
    best = min(row[name] for row in rows)
    assert measured["logloss"] == pytest.approx(best, abs=1e-6 if name == "logloss" else 0.5)


def test_what_is_measured_is_the_response_whatever_is_learned(alpaca: Path, tmp_path: Path) -> None:
    """With a rate of nothing, both losses leave the model where it was."""
    still = {"tokenizer": "words", "lr": 1e-12, "epoch": 1}
    with one_thread():
        runs = [
            finish(
                argv(
                    "instructions-scratch",
                    "instructions",
                    alpaca,
                    runs=tmp_path / each,
                    loss_on=each,
                    **still,
                )
            )
            for each in ("answer", "all")
        ]
    found = [json.loads((run / "metrics.json").read_text())["dev"]["metrics"]["logloss"] for run in runs]
    assert found[0] == pytest.approx(found[1], abs=1e-5) and math.isfinite(found[0])


@pytest.mark.slow
def test_the_second_stage_goes_on_with_the_adapter_of_the_first(
    alpaca: Path,
    weights: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    own = {"lm_path": weights, "lora_r": 2}
    answers = [{"instruction": "Like?", "input": row["input"], "output": answer}
               for row, answer in zip(tasks(24), ["Yes.", "No."] * 12, strict=True)]  # fmt: skip
    file = save(tmp_path / "rec.json", answers)
    flags = [part for split in ("train", "dev", "test") for part in (f"--{split}", file)]
    rec = made(instructions, tmp_path / "rec", *flags, "--tokenizer", f"llama={weights}").path
    with one_thread():
        first = finish(argv("instructions-lora", "instructions", alpaca, runs=tmp_path / "one", **own))
        asked = {**own, "adapter": first / "adapter", "exp.metrics": "[auc]", "exp.baselines": "[]"}
        still = finish(argv("tallrec-json-lora", "tallrec", rec, runs=tmp_path / "still", lr=1e-12, **asked))
        del asked["adapter"]
        bare = finish(argv("tallrec-json-lora", "tallrec", rec, runs=tmp_path / "bare", lr=1e-12, **asked))
    losses = [epochs(run)[0]["loss"] for run in (still, bare)]
    assert losses[0] != pytest.approx(losses[1], abs=1e-4), "the adapter of the first stage is there"


def rows_asked(
    model: str, store: Store, data: str, split: str, rows: np.ndarray, **flags: Any
) -> list[list[str]]:
    """The tokens of some prompts with their answers, spelled."""
    settings = read_command_line(argv(model, "tallrec", store.path, data=data, tokenizer="words", **flags))
    found = opened(settings, [split], None)
    vocabulary = PromptVocabulary(text_of(found).tokenizer)
    prompt = make_prompt(layer_of(settings).prompt, found, vocabulary)
    batch, _ = found.impressions(split).batch(rows)
    made_rows = prompt(batch)
    return [" ".join(prompt.text(made_rows, row).values()).split() for row in range(len(rows))]


@pytest.mark.parametrize("source", ["generated", "real"])
def test_both_ways_to_tallrecs_rows_ask_the_same_token_for_token(tmp_path: Path, source: str) -> None:
    raw = shared("ml-100k") if source == "real" else write_100k(tmp_path / "ml", ratings(), MOVIES)
    files = tmp_path / "json"
    clicks = made(tallrec, tmp_path / "clicks", "--source", raw, "--json", files)
    how = {"train": "train", "dev": "valid", "test": "test"}
    flags = [part for split, name in how.items() for part in (f"--{split}", files / f"{name}.json")]
    table = made(instructions, tmp_path / "rows", *flags)
    for split in how:
        rows = np.arange(0, len(clicks.interactions(split)), 53)
        mine = rows_asked("tallrec-scratch", clicks, "tallrec-movie", split, rows)
        theirs = rows_asked("tallrec-json-scratch", table, "instructions", split, rows)
        assert mine == theirs and len({len(row) for row in mine}) > 1


def test_the_quirk_of_the_published_code_is_a_switch(tmp_path: Path) -> None:
    row = {"instruction": "Like?", "input": "it", "output": "Yes."}
    store = made(instructions, tmp_path / "rows", "--train", save(tmp_path / "a.json", [row]))
    asked = [
        rows_asked("tallrec-json-scratch", store, "instructions", "train", np.arange(1), **flags)[0]
        for flags in ({}, {"noqa": "true"})
    ]
    at, quirk = asked[0].index("#"), words(QUIRK).split()  # of the heading: words are parted at every mark
    assert asked[1] == [*asked[0][:at], *quirk, *asked[0][at:]] and "noqa" in quirk


def test_both_stages_are_one_command_and_each_alone(
    alpaca: Path,
    weights: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The second begins with the adapter of the first, as a run that was given it by hand."""
    movies = tmp_path / "movies"
    marked_store(movies, num_users=20, examples=3)
    add_tokenization(movies, "name", TokenizerChoice("llama", weights))
    small = {"lm_path": weights, "lora_r": 2, "epoch": 1, "batch_size": 16, "lr": 1e-2, "device": "cpu"}
    files = {"data": "tallrec-movie", "model": "tallrec-lora"}
    given = {layer: f"{ROOT}/config/{layer}/{name}.yaml" for layer, name in files.items()} | small
    prompt, runs = "model.prompt.segments", tmp_path / "runs"
    staged = {
        "exp": f"{ROOT}/config/exp/tallrec-stages.yaml",
        "runs": runs,
        "stages.recommend.data.store": movies,
    }
    staged |= {"stages.instruct.data.store": alpaca, f"stages.recommend.{prompt}": SHORT}
    with one_thread():
        assert worker.main([*flags(given | staged), "--stage", "instruct"]) == 0
        (first,) = run_folders(runs)
        assert worker.main(flags(given | staged)) == 0
        (second,) = set(run_folders(runs)) - {first}
        alone = {"exp": f"{ROOT}/config/exp/tallrec.yaml", "runs": tmp_path / "alone", "data.store": movies}
        by_hand = finish(flags(given | alone | {prompt: SHORT, "adapter": first / "adapter"}))
    assert differences(second, by_hand) == []
    assert (first.parents[1].name, second.parents[1].name) == ("Alpaca", "TALLRec-movie")


def flags(given: dict[str, Any]) -> list[str]:
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]
