"""Summaries block by block: how many calls, what each prompt holds, what a log spares (gg to mm)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from legorec.data.store import Store
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.texts import GenerationParameters, TextRequest
from legorec.texts.answer_log import AnswerLog
from legorec.texts.answers import answers_of
from legorec.texts.asking import Asking, Outcome
from legorec.texts.budget import Budget
from legorec.texts.lookup import Lookup, Survey, survey
from legorec.texts.merging import Merge, merge
from legorec.texts.parsing import parse_answer
from legorec.texts.rounds import Prompts, answers_in, rounds_of
from tests.support.answering import DRAWN, GREEDY, Answering
from tests.support.schemes import SUMMARIES, scheme
from tests.support.small_store import WORDS

CLICKS = {"u": "abcde", "v": "fg", "w": "h", "x": ""}  # before the only impression of each, on t
SPLITS = {"u": "train", "v": "dev", "w": "test", "x": "train"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("rounds") / "store"
    items = [*"abcdefgh", "target"]
    with StoreWriter(path, {"processor": "rounds"}, [WORDS]) as writer:
        writer.items(pl.DataFrame({"id": items, "title": items}), [Column("title", "text")])
        for user, split in SPLITS.items():
            row = {"user": [user], "history": [[*CLICKS[user]]], "candidates": [["target"]], "labels": [[1]]}
            writer.impressions(split, pl.DataFrame(row, schema_overrides={"history": pl.List(pl.String)}))
    return Store.open(path)


def asked_scheme(combine: str) -> Any:
    return scheme(SUMMARIES, blocks=SUMMARIES["blocks"] | {"combine": combine})


def run(
    store: Store,
    path: Path,
    combine: str,
    generator: Answering,
    parameters: GenerationParameters = GREEDY,
    budget: Budget | None = None,
    attempts: int = 1,
) -> tuple[Outcome, Survey]:
    """One run on a log; what came of it, and what a survey counted before."""
    one, outcome = asked_scheme(combine), Outcome()

    def check(request: TextRequest, text: str) -> str | None:
        return parse_answer(one.answer, text).problem

    with AnswerLog(path) as log:
        lookup = Lookup(generator, parameters, log, check, attempts)
        prompts = Prompts(rounds_of(one, store), answers_in(lookup, one))
        before = survey(prompts.all, lookup)
        prompts.ask(lambda requests: Asking(requests, lookup, budget, outcome).run())
    return outcome, before


def shortened(prompt: str, parameters: Any) -> str:
    """A summary that names all letters of its prompt."""
    return f"S({''.join(letters(prompt))})"


def letters(prompt: str) -> Iterator[str]:
    for alone, before in re.findall(r"(?<!\w)([a-h])(?!\w)|S\((\w+)\)", prompt):
        yield alone or before


@pytest.mark.parametrize(("combine", "calls"), [("recurrent", 3 + 1 + 1), ("hierarchical", 5 + 3)])
def test_gg_calls_and_kk_a_second_run_makes_none(
    store: Store, tmp_path: Path, combine: str, calls: int
) -> None:
    """ceil(n / 2) calls, and one more of hierarchical ones, also where there is one block."""
    path, first = tmp_path / "log.jsonl", Answering(shortened)
    outcome, before = run(store, path, combine, first)
    assert len(first.asked) == calls == outcome.usable == before.to_ask == before.requests
    assert not outcome.failed
    lines = path.read_bytes()
    second = Answering(shortened)
    outcome, before = run(store, path, combine, second)
    assert second.asked == [] and (outcome.found, before.to_ask) == (calls, 0) and path.read_bytes() == lines


def test_ii_a_recurrent_prompt_holds_the_summary_before_it_and_its_block_alone(
    store: Store, tmp_path: Path
) -> None:
    generator = Answering(shortened)
    run(store, tmp_path / "log.jsonl", "recurrent", generator)
    mine = [each for each in generator.asked if not {*"fgh"} & {*letters(each)}]
    assert mine == ["first of\na\nb", "after S(ab) came\nc\nd", "after S(abcd) came\ne"]


def test_hh_blocks_partition_the_history_and_the_merge_holds_all_summaries(
    store: Store, tmp_path: Path
) -> None:
    generator = Answering(shortened)
    run(store, tmp_path / "log.jsonl", "hierarchical", generator)
    blocks = [each.removeprefix("first of\n") for each in generator.asked if each.startswith("first of")]
    assert blocks == ["a\nb", "c\nd", "e", "f\ng", "h"]
    merged = [each for each in generator.asked if each.startswith("merged of")]
    assert merged == ["merged of\n1. S(ab)\n2. S(cd)\n3. S(e)", "merged of\n1. S(fg)", "merged of\n1. S(h)"]


@pytest.mark.parametrize("combine", ["recurrent", "hierarchical"])
def test_jj_the_target_is_in_no_prompt(store: Store, tmp_path: Path, combine: str) -> None:
    generator = Answering(shortened)
    run(store, tmp_path / "log.jsonl", combine, generator)
    assert generator.asked and not any("target" in each for each in generator.asked)


def test_jj_where_histories_grow_the_earliest_counts(tmp_path: Path) -> None:
    """A click that a later history holds is the target of an earlier example."""
    with StoreWriter(tmp_path / "store", {"processor": "rounds"}, [WORDS]) as writer:
        writer.items(pl.DataFrame({"id": [*"abcd"], "title": [*"abcd"]}), [Column("title", "text")])
        for split, history, target in (("test", "abc", "d"), ("dev", "ab", "c"), ("train", "a", "b")):
            row = {"user": ["u"], "history": [[*history]], "candidates": [[target]], "labels": [[1]]}
            writer.impressions(split, pl.DataFrame(row))
    generator = Answering(shortened)
    run(Store.open(tmp_path / "store"), tmp_path / "log.jsonl", "recurrent", generator)
    assert generator.asked == ["first of\na"]


@pytest.mark.parametrize("combine", ["recurrent", "hierarchical"])
def test_kk_a_run_that_was_stopped_goes_on(store: Store, tmp_path: Path, combine: str) -> None:
    whole = Answering(shortened)
    run(store, tmp_path / "whole.jsonl", combine, whole)
    parts: list[str] = []
    for _ in range(len(whole.asked)):
        generator = Answering(shortened)
        outcome, _ = run(store, tmp_path / "parts.jsonl", combine, generator, budget=Budget(requests=2))
        parts += generator.asked
        if outcome.stopped is None:
            break
    assert outcome.stopped is None and sorted(parts) == sorted(whole.asked)


@pytest.mark.parametrize("combine", ["recurrent", "hierarchical"])
def test_an_estimate_is_at_least_what_is_asked(store: Store, tmp_path: Path, combine: str) -> None:
    generator = Answering(shortened)
    _, before = run(store, tmp_path / "log.jsonl", combine, generator)
    assert before.prompt_tokens >= sum(len(each.split()) for each in generator.asked)
    assert before.completion_tokens == before.requests * GREEDY.max_tokens


@pytest.mark.parametrize("combine", ["recurrent", "hierarchical"])
def test_a_summarizer_that_returns_nothing_is_asked_again_and_counted(
    store: Store, tmp_path: Path, combine: str
) -> None:
    """Nothing of the block with `c`; nothing at all about the users with one block."""

    def silent(prompt: str, parameters: Any) -> str:
        return "" if {*"cfgh"} & {*letters(prompt)} else shortened(prompt, parameters)

    path, generator = tmp_path / "log.jsonl", Answering(silent)
    outcome, _ = run(store, path, combine, generator, DRAWN, attempts=2)
    assert sum("c\nd" in each for each in generator.asked) == 2
    last = "after S(ab) came\ne" if combine == "recurrent" else "merged of\n1. S(ab)\n2. S(e)"
    assert generator.asked.count(last) == 1
    failed = {"of no use: the answer is empty": 3}
    assert outcome.failed == failed | ({"no block has a summary": 2} if combine == "hierarchical" else {})
    new = merged_store(store, path, combine, tmp_path / "new")
    assert list(new.users.text("summary")) == ["S(abe)", "", "", ""]
    assert new.manifest["generations"][-1]["counts"]["`summary` empty"] == 3


def merged_store(store: Store, path: Path, combine: str, out: Path) -> Store:
    one = asked_scheme(combine)
    answers = answers_of(one, [path], say=lambda _: None)
    assert merge(Merge(store, one, one.model_dump(), answers), out)
    return Store.open(out, verify="full")


@pytest.mark.parametrize("combine", ["recurrent", "hierarchical"])
def test_the_last_answer_becomes_a_text_of_the_user(store: Store, tmp_path: Path, combine: str) -> None:
    path = tmp_path / "log.jsonl"
    run(store, path, combine, Answering(shortened))
    new = merged_store(store, path, combine, tmp_path / "new")
    assert list(new.users.ids) == [*"uvwx"]
    assert list(new.users.text("summary")) == ["S(abcde)", "S(fg)", "S(h)", ""]
    names = new.tokenizer("words").decode(new.users.field("summary@words").rows[0]).split()
    assert names == ["s", "(", "abcde", ")"], "its words are in the vocabulary"
    for split in store.splits:
        assert new.interactions(split).candidates == store.interactions(split).candidates


def test_mm_batches_change_nothing(store: Store, tmp_path: Path) -> None:
    logs = []
    for at_once in (1, 7):
        path = tmp_path / f"{at_once}.jsonl"
        run(store, path, "recurrent", Answering(shortened, at_once=at_once))
        logs.append(sorted(path.read_text().splitlines()))
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"merge": None, "combine": "hierarchical"}, "needs the prompt `merge`"),
        ({"update": "{summary}"}, "`update` must hold {summary} and {history}"),
        ({"merge": "{summaries} {history}"}, "`merge` must hold {summaries}, and no other"),
        ({"line": "{number}"}, "`line` holds {summary} and perhaps {number}"),
    ],
)
def test_wrong_blocks_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        scheme(SUMMARIES, blocks=SUMMARIES["blocks"] | changes)
    with pytest.raises(ValueError, match="`blocks` need the slot {history}"):
        scheme(SUMMARIES, answer={"form": "json", "fields": {"summary": {"choices": ["a"]}}})
