"""Answers as models write them: labels, JSON in prose, lists; what is of no use is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from legorec.settings.scheme import AnswerSettings
from legorec.texts.parsing import parse_answer


def answer(form: str, **fields: Any) -> AnswerSettings:
    return AnswerSettings.model_validate({"form": form, "fields": fields})


TITLE = answer("labelled", desc={"label": "description"})
NEWS = answer(
    "labelled",
    topics={"kind": "list", "choices": ["food and drink", "TV", "sports"]},
    region={"kind": "list", "choices": ["New York"], "required": False},
)
BOOK = answer("json", title={}, description={"required": False})
WORDS = answer("json", interests={"kind": "list", "at_most": 3, "max_words": 2})


@pytest.mark.parametrize(
    "text",
    [
        "[description] A tale.",
        "Sure! Here it is:\n\n[Description]:  A\n tale.",
        "[description] A tale.\n[note] I hope that helps.",
        "[description] A tale.[description] Another.",
    ],
)
def test_labelled_text(text: str) -> None:
    assert parse_answer(TITLE, text).fields == {"desc": "A tale."}


def test_a_bracket_in_a_text_stays() -> None:
    text = '[description] "Sho [no] me" [sic] is [a book'
    assert parse_answer(TITLE, text).fields == {"desc": '"Sho [no] me" [sic] is [a book'}


@pytest.mark.parametrize(
    "text",
    [
        "[topics] sports, Food and Drink\n[region] new york",
        "[topics]\n- Sports\n- food and drink.\n\n[region]\n- New York",
        "[topics]\n1. sports\n2) Food  and drink\n[region] (1) New York; N/A",
        '[region] ["New York"]\n[topics] ["sports", "food and drink", "sports"]',
    ],
)
def test_lists_of_a_closed_list(text: str) -> None:
    assert parse_answer(NEWS, text).fields == {"topics": ["sports", "food and drink"], "region": ["New York"]}


def test_what_is_outside_a_list_is_left_out_and_counted() -> None:
    found = parse_answer(NEWS, "[topics] sports, gossip, tv, tv, war\n[region] none")
    assert found.fields == {"topics": ["sports", "TV"]} and found.problem is None
    assert found.left_out == {"`topics` outside the list": 2, "`topics` named twice": 1}


OBJECT = '{\n    "title": "A \\"B\\"",\n    "Description": "C\n d"\n}'


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"Here {{it}} is:\n{OBJECT}\nEnjoy.",
        f"```json\n{OBJECT}\n```",
        f"Of course.\n```\n{OBJECT}\n```\n",
        json.dumps(OBJECT),  # a text that holds JSON
        '{"title": ["A \\"B\\""], "description": "C d", "year": 3}',
    ],
)
def test_json_objects(text: str) -> None:
    assert parse_answer(BOOK, text).fields == {"title": 'A "B"', "description": "C d"}


def test_a_number_is_a_text_too() -> None:
    assert parse_answer(BOOK, '{"title": 1984}').fields == {"title": "1984"}


def test_json_with_escaped_newlines() -> None:
    text = '{\\n    \\"title\\": \\"A\\",\\n    \\"description\\": \\"B\\"\\n}'
    assert parse_answer(BOOK, text).fields == {"title": "A", "description": "B"}


def test_free_interests() -> None:
    found = parse_answer(
        WORDS, '{"interests": ["dark", "Dark", "lost colony", "one two three", "", "x", "y"]}'
    )
    assert found.fields == {"interests": ["dark", "lost colony", "x"]}
    assert found.left_out == {
        "`interests` named twice": 1,
        "`interests` with more than 2 words": 1,
        "`interests` after the first 3": 1,
    }
    assert parse_answer(WORDS, '["a", "b"]').fields == {"interests": ["a", "b"]}
    assert parse_answer(WORDS, '{"interests": "a, b"}').fields == {"interests": ["a", "b"]}


def test_an_answer_as_a_whole() -> None:
    whole = answer("text", desc={})
    assert parse_answer(whole, "Once upon\n\n a time.").fields == {"desc": "Once upon a time."}
    assert parse_answer(whole, " ").problem == "the answer is empty"


def test_a_choice() -> None:
    mood = answer("choice", mood={"choices": ["glad", "sad"]})
    assert parse_answer(mood, " Glad.\n").fields == {"mood": "glad"}
    assert parse_answer(mood, "both").problem == "`mood` is outside the list"


@pytest.mark.parametrize(
    ("asked", "text", "problem"),
    [
        (TITLE, " \n", "the answer is empty"),
        (TITLE, "A tale.", "no `desc`"),
        (TITLE, "[description]\n", "`desc` is empty"),
        (NEWS, "[topics] gossip", "fewer than 1 of `topics`"),
        (NEWS, "[region] New York", "no `topics`"),
        (BOOK, '{"title": "A", "descr', "no JSON object"),
        (BOOK, "[1, 2]", "no JSON object"),
        (BOOK, "{" * 100_000, "no JSON object"),
        (BOOK, "[" * 100_000, "no JSON object"),
        (BOOK, '{"description": "B"}', "no `title`"),
        (BOOK, '{"title": true}', "`title` is no text"),
        (WORDS, '{"interests": [1]}', "`interests` is no list of texts"),
        (answer("json", a={"required": False}), "{}", "none of the fields is there"),
    ],
)
def test_what_is_of_no_use_is_named(asked: AnswerSettings, text: str, problem: str) -> None:
    found = parse_answer(asked, text)
    assert found.problem == problem and found.fields == {}


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert parse_answer(BOOK, '{"title": "a\\ud800"}').fields == {"title": "a?"}
    assert parse_answer(TITLE, "[description] a\ud800").fields == {"desc": "a?"}
