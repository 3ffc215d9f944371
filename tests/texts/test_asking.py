"""A run asks for what its log does not hold, once, within its budget, and keeps what it gets."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from legorec.texts import Message, TextRequest, answer_index
from legorec.texts import asking as asking_module
from legorec.texts.answer_log import AnswerLog
from legorec.texts.asking import Asking
from legorec.texts.budget import Budget, Prices
from legorec.texts.log_lines import read_answers
from legorec.texts.lookup import Lookup, survey
from tests.support.answering import DRAWN, GREEDY, Answering, ask, asking_for

NAMES = [f"i{number}" for number in range(10)]


def logged(path: Path) -> dict[str, str]:
    return {each.id: each.texts[0].text for each in read_answers(path) if each.failed is None}


def must_not_be_asked(prompt, parameters):
    raise AssertionError(prompt)


def test_a_second_run_makes_no_call(tmp_path):
    path, first = tmp_path / "log.jsonl", Answering()
    outcome = ask(path, NAMES, first)
    assert (outcome.asked, outcome.answered, outcome.usable, outcome.found) == (10, 10, 10, 0)
    assert logged(path) == {name: f"about {name}" for name in NAMES}
    before = path.read_bytes()
    second = Answering(must_not_be_asked)
    outcome = ask(path, NAMES, second)
    assert (outcome.asked, outcome.usable, outcome.found, second.calls) == (0, 10, 10, 0)
    assert path.read_bytes() == before


def test_more_requests_ask_for_what_is_new(tmp_path):
    path = tmp_path / "log.jsonl"
    ask(path, NAMES[:7], Answering())
    generator = Answering()
    assert ask(path, NAMES, generator).found == 7 and generator.asked == NAMES[7:]


@pytest.mark.parametrize(
    ("template", "model", "parameters"),
    [("t@2", "fake", GREEDY), ("t@1", "other", GREEDY), ("t@1", "fake", DRAWN)],
    ids=["prompts", "generator", "parameters"],
)
def test_a_log_of_something_else_matches_nothing_and_that_is_counted(tmp_path, template, model, parameters):
    path = tmp_path / "log.jsonl"
    ask(path, NAMES, Answering())
    with AnswerLog(path) as log:
        lookup = Lookup(Answering(model=model), parameters, log)
        found = survey(asking_for(NAMES, template), lookup)
        assert (found.requests, found.found, found.to_ask, found.others) == (10, 0, 10, 10)


def test_a_survey_counts_what_is_there_and_what_is_left(tmp_path):
    path = tmp_path / "log.jsonl"
    ask(path, ["a", "b"], Answering(lambda prompt, parameters: "" if prompt == "b" else "x"))
    with AnswerLog(path) as log:
        names = ["a", "b", "c=some three words", "d"]
        found = survey(asking_for(names), Lookup(Answering(), GREEDY, log), Prices(1e6, 2e6))
    assert (found.found, found.failed, found.to_ask, found.others) == (1, 1, 2, 0)
    assert (found.prompt_tokens, found.completion_tokens, found.money) == (4, 40, 84)


def test_ids_of_one_prompt_share_an_answer(tmp_path):
    path, generator = tmp_path / "log.jsonl", Answering()
    names = ["a=same", "b=same", "c=other", "d=same"]
    outcome = ask(path, names, generator)
    assert sorted(generator.asked) == ["other", "same"] and outcome.usable == 4 and outcome.found == 2
    assert set(logged(path)) == set("abcd")
    before = path.read_bytes()
    assert ask(path, names, Answering(must_not_be_asked)).usable == 4
    assert path.read_bytes() == before
    with AnswerLog(path) as log:
        assert survey(asking_for(names), Lookup(Answering(), GREEDY, log)).others == 0 and len(log) == 2


def test_an_answer_of_no_use_is_asked_again_and_then_counted(tmp_path):
    path, tries = tmp_path / "log.jsonl", []

    def answer(prompt, parameters):
        tries.append((prompt, parameters.seed))
        return "good" if prompt == "b" and parameters.seed == 8 or prompt == "c" else "bad"

    def check(request: TextRequest, text: str) -> str | None:
        return None if text == "good" else f"{text!r} is not good"

    outcome = ask(path, "abc", Answering(answer), DRAWN, lookup={"check": check, "attempts": 3})
    assert sorted(tries) == [("a", 7), ("a", 8), ("a", 9), ("b", 7), ("b", 8), ("c", 7)]
    assert (outcome.asked, outcome.usable) == (6, 2)
    assert outcome.failed == {"of no use: 'bad' is not good": 1}
    assert [each.attempt for each in read_answers(path) if each.id == "a"] == [0, 1, 2, 2]
    assert [each.failed for each in read_answers(path)].count("of no use: 'bad' is not good") == 1
    before = path.read_bytes()
    options = {"check": check, "attempts": 3}
    again = ask(path, "abc", Answering(must_not_be_asked), DRAWN, lookup=options)
    assert again.failed == outcome.failed and path.read_bytes() == before
    better = ask(path, "abc", Answering(must_not_be_asked), DRAWN, lookup={"attempts": 3})
    assert (better.usable, better.asked) == (3, 0), "a better parser costs no call"


def test_one_text_of_several_is_enough(tmp_path):
    texts = iter(["", "x", "", ""])
    outcome = ask(
        tmp_path / "log.jsonl",
        "ab",
        Answering(lambda prompt, parameters: next(texts)),
        DRAWN.__class__(max_tokens=9, temperature=1.0, num_texts=2),
    )
    assert outcome.usable == 1 and outcome.failed == {"of no use: it is empty": 1}


def test_a_request_without_an_answer_is_counted_and_asked_by_the_next_run(tmp_path):
    def fails(prompt, parameters):
        if prompt in ("i3", "i4"):
            raise RuntimeError("status 500: out of order, 6 times")
        return "x"

    path = tmp_path / "log.jsonl"
    outcome = ask(path, NAMES, Answering(fails))
    assert outcome.failed == {"status 500: out of order, 6 times": 2} and outcome.usable == 8
    assert [each.id for each in read_answers(path) if each.failed] == ["i3", "i4"]
    generator = Answering()
    assert ask(path, NAMES, generator).usable == 10 and generator.asked == ["i3", "i4"]


def test_many_reasons_do_not_fill_the_memory(tmp_path):
    def fails(prompt, parameters):
        raise RuntimeError(f"no {prompt}")

    outcome = ask(tmp_path / "log.jsonl", map(str, range(100)), Answering(fails))
    assert len(outcome.failed) == 31 and outcome.failed["other reasons"] == 70


def test_a_run_stops_at_its_number_of_requests(tmp_path):
    path = tmp_path / "log.jsonl"
    outcome = ask(path, NAMES, Answering(), budget=Budget(requests=7))
    assert (outcome.asked, outcome.usable) == (7, 7) and outcome.stopped == "the budget is 7 requests"
    outcome = ask(path, NAMES, Answering(), budget=Budget(requests=7))
    assert (outcome.asked, outcome.found, outcome.stopped) == (3, 7, None)


def test_a_run_never_takes_more_tokens_than_its_budget(tmp_path):
    # 1 token of prompt and at most 20 of an answer, of which 2 come.
    for limit in range(20, 130, 7):
        budget, generator = Budget(tokens=limit), Answering()
        outcome = ask(tmp_path / f"{limit}.jsonl", map(str, range(100)), generator, budget=budget)
        spent = budget.prompt_tokens + budget.completion_tokens
        assert spent == 3 * outcome.answered <= limit and limit - spent < 21, "it goes as far as it may"
        assert outcome.stopped is not None and "the next request may take 21" in outcome.stopped
        assert generator.most_at_once <= max(1, limit // 21)
        assert outcome.answered == generator.closed * len(generator.asked)


def test_a_run_never_takes_more_money_than_its_budget(tmp_path):
    budget = Budget(money=0.001, prices=Prices(prompt=1.0, completion=10.0))
    outcome = ask(tmp_path / "log.jsonl", map(str, range(100)), Answering(), budget=budget)
    assert 0.0008 < budget.spent <= 0.001 and outcome.stopped.startswith("the budget is 0.001 (0.0008")


def test_tokens_that_are_not_said_are_counted(tmp_path):
    class Silent(Answering):
        def generate(self, requests, parameters):
            for each in super().generate(requests, parameters):
                texts = tuple(text.__class__(text.text) for text in each.texts)
                yield each.__class__(each.request, texts)

    budget = Budget()
    outcome = ask(tmp_path / "log.jsonl", ["a=one two three"], Silent(), budget=budget)
    assert (outcome.estimated, budget.prompt_tokens, budget.completion_tokens) == (1, 3, 4)


def test_a_stopped_run_finishes_what_is_under_way_and_is_gone_on_with(tmp_path):
    path, asked = tmp_path / "log.jsonl", []

    def answer(prompt, parameters):
        asked.append(prompt)
        return "x"

    outcome = ask(path, NAMES, Answering(answer), stop=lambda: len(asked) >= 2)
    assert outcome.stopped == "asked to stop" and asked == NAMES[:4] and outcome.given_up == 0
    assert set(logged(path)) == set(NAMES[:4])
    outcome = ask(path, NAMES, Answering(answer))
    assert outcome.usable == 10 and asked == NAMES, "each of them once"


def test_what_takes_too_long_after_a_stop_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(asking_module, "GRACE", 0.0)
    generator = Answering()
    outcome = ask(tmp_path / "log.jsonl", NAMES, generator, stop=lambda: len(generator.asked) >= 1)
    assert (outcome.asked, outcome.answered, outcome.given_up) == (4, 1, 3) and generator.closed
    assert ask(tmp_path / "log.jsonl", NAMES, Answering()).found == 1


def test_a_generator_that_fails_leaves_what_it_answered(tmp_path):
    def answer(prompt, parameters):
        if prompt == "i6":
            raise ValueError("the key was taken back")
        return "x"

    path = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match="the key was taken back"):
        ask(path, NAMES, Answering(answer))
    assert set(logged(path)) == set(NAMES[:6])
    assert ask(path, NAMES, Answering()).found == 6


def test_what_another_run_asks_for_is_left_to_it(tmp_path, monkeypatch):
    """The other run answers while this one waits, all but one, and ends."""
    path = tmp_path / "log.jsonl"
    with AnswerLog(path) as other:
        theirs = Answering()
        lookup = Lookup(theirs, GREEDY, other)
        claimed = {name: lookup.key(TextRequest(name, (Message("user", name),), "t@1"), 0) for name in "bd"}
        taken = set(claimed.values())
        claim = AnswerLog.claim
        monkeypatch.setattr(AnswerLog, "claim", lambda log, key: key not in taken and claim(log, key))

        def slept(seconds):
            assert mine.asked == ["a", "c", "e"], "the rest is done before it waits"
            ask_b = Lookup(theirs, GREEDY, other)
            taken.clear()
            Asking(asking_for("b"), ask_b).run()

        monkeypatch.setattr(asking_module.time, "sleep", slept)
        mine = Answering()
        outcome = ask(path, "abcde", mine)
    assert theirs.asked == ["b"] and mine.asked == ["a", "c", "e", "d"]
    assert outcome.usable == 5 and outcome.found == 1
    assert len(list(read_answers(path))) == 5


def test_memory_does_not_grow_with_the_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_index, "FEW", 32)

    def peak(count: int) -> int:
        def requests():
            for number in range(count):
                yield TextRequest(str(number), (Message("user", str(number)),), "t@1")

        generator = Answering(lambda prompt, parameters: "x" * 200)
        generator.asked = _Forgetful()
        tracemalloc.start()
        with AnswerLog(tmp_path / f"{count}.jsonl") as log:
            outcome = Asking(requests, Lookup(generator, GREEDY, log)).run()
            assert outcome.usable == count
            most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(450) < peak(150) + (1 << 18), "some bytes of each, and no text"


class _Forgetful(list):
    def append(self, each):
        """Keep nothing."""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attempts": 0}, "`attempts` must be from 1 to 100, got 0"),
        ({"attempts": 101}, "`attempts` must be from 1 to 100, got 101"),
        ({"attempts": 2}, "at `temperature` 0 the same answer would come again; set a temperature"),
    ],
)
def test_attempts_that_make_no_sense_are_refused(tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        ask(tmp_path / "log.jsonl", NAMES, Answering(), lookup=options)
