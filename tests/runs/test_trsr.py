"""LLM-TRSR where only an old topic decides: the summary carries it, the latest clicks alone do not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import worker
from process import enrich, tables
from tests.support.launching import one_thread
from tests.support.runs import ROOT, finish
from tests.support.text_server import TextServer

TOPICS = ("chess", "opera", "soccer", "cooking", "gardens", "trains")
NUM_ITEMS, NUM_USERS, OLD, RECENT = 600, 900, 4, 4
CHANCE = 3 / 21
# As in config/model/parts/trsr_prompt.yaml, in fewer words: nothing pretrained knows them.
MODEL = """
name: short
family: prompted
language_model:
  scratch: {hidden_size: 32, num_layers: 2, heads: 2}
num_negatives: 1
prompt:
  max_length: 64
  segments:
  - {name: summary, user: "${summary}", empty: "NULL"}
  - {name: recent, history: "{title}", last: 3, separator: ";", empty: "NULL"}
  - {name: question, text: " next "}
  - {name: target, item: "{title}"}
  - {name: cue, text: " answer "}
  - {name: answer, answer: ["yes", "no"]}
"""


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


def write_raw(folder: Path) -> list[str]:
    """The arguments of a store whose users took items of one topic, of another, and of the first again."""
    rng = np.random.default_rng(0)
    titles = [f"{TOPICS[item % len(TOPICS)]} story" for item in range(NUM_ITEMS)]
    lines = ["item,title", *(f"i{item},{title}" for item, title in enumerate(titles))]
    (folder / "items.csv").write_text("\n".join(lines))
    rows = ["user,history"]
    for user in range(NUM_USERS):
        old, new = rng.integers(len(TOPICS), size=2)
        kinds = [old] * OLD + [new] * RECENT + [old]
        items = rng.permutation(NUM_ITEMS // len(TOPICS))[: len(kinds)] * len(TOPICS) + kinds
        rows.append(f"u{user}," + " ".join(f"i{item}" for item in items))
    (folder / "histories.csv").write_text("\n".join(rows))
    words = [
        "--items",
        "items.csv",
        "--text",
        "title",
        "--histories",
        "histories.csv",
        "--history",
        "history",
    ]
    words = [str(folder / word) if word.endswith(".csv") else word for word in words]
    return [*words, "--split", "users", "--shares", "0.7,0.1,0.2", "--out", str(folder / "store")]


def copied(prompt: str) -> str:
    """The topic of the first line that names one: of the oldest block, or of the summary of it."""
    return f"It is {re.findall('|'.join(TOPICS), prompt)[0]}."


def measured(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())["test"]["metrics"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["hierarchical", "recurrent"])
def test_a_summary_carries_what_the_latest_clicks_do_not_say(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    tables.main(write_raw(tmp_path))
    data = ["--data", f"{ROOT}/config/data/trsr-books.yaml", "--data.store", "store"]
    scheme = f"{ROOT}/config/exp/summarize-books-{way.removesuffix('archical').removesuffix('urrent')}.yaml"
    blocks = -(-(OLD + RECENT) // 4)
    with TextServer(answer=copied) as server:
        argv = [*data, "--exp", scheme, "--base_url", server.url, "--llm", "stub", "--block", "4"]
        assert worker.main([*argv, "--log", "answers.jsonl"]) == 0
    report = json.loads((tmp_path / "answers.report.json").read_text())
    assert report["usable"] == NUM_USERS * (blocks + (way == "hierarchical"))
    words = ["merge", "--store", "store", "--scheme", "answers.settings.yaml", "--log", "answers.jsonl"]
    enrich.main([*words, "--out", "summaries"])
    data[-1] = "summaries"
    Path("model.yaml").write_text(MODEL)
    argv = [*data, "--model", "model.yaml", "--exp", f"{ROOT}/config/exp/trsr.yaml", "--tokenizer", "words"]
    small = {"lr": 3e-3, "batch_size": 64, "epoch_batch": 150, "epoch": 2, "device": "cpu"}
    argv += [part for name, value in small.items() for part in (f"--{name}", str(value))]
    full = measured(finish([*argv, "--summary", way, "--runs", "full"]))
    none = measured(finish([*argv, "--summary", "none", "--runs", "none"]))
    # About three of twenty others are of the topic of the click: with all of them tied it would be 0.69.
    assert full["recall@3"] > 0.4
    assert abs(none["recall@3"] - CHANCE) < 0.08
