from dataclasses import replace

import pytest

from legorec.texts import AnswerFormat, GenerationParameters, Message, TextRequest, answer_key

IDENTITY = {"kind": "endpoint", "model": "small"}
PARAMETERS = GenerationParameters(max_tokens=8)
REQUEST = TextRequest("item-1", (Message("user", "What is it?"),), template="cs-1")


def changed():
    """Each thing that an answer depends on, changed alone."""
    yield IDENTITY | {"model": "large"}, PARAMETERS, REQUEST
    for change in (
        {"max_tokens": 9},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"top_k": 4},
        {"repetition_penalty": 1.2},
        {"stop": ("\n",)},
        {"seed": 3},
        {"temperature": 0.5, "num_texts": 2},
    ):
        yield IDENTITY, replace(PARAMETERS, **change), REQUEST
    for change in (
        {"template": "cs-2"},
        {"messages": (Message("user", "What is it? "),)},
        {"messages": (Message("system", "What is it?"),)},
        {"messages": (*REQUEST.messages, Message("assistant", ""))},
        {"format": AnswerFormat(choices=("yes", "no"))},
        {"format": AnswerFormat(choices=("no", "yes"))},
        {"format": AnswerFormat(schema={"properties": {"a": {}, "b": {}}})},
        {"format": AnswerFormat(schema={"properties": {"b": {}, "a": {}}})},
    ):
        yield IDENTITY, PARAMETERS, replace(REQUEST, **change)


def test_whatever_an_answer_depends_on_changes_its_key():
    keys = [answer_key(*each) for each in [(IDENTITY, PARAMETERS, REQUEST), *changed()]]
    assert len(set(keys)) == len(keys) > 15
    assert all(len(key) == 32 and int(key, 16) for key in keys)


def test_neither_the_id_nor_the_spelling_of_a_number_nor_the_order_of_an_identity_does():
    key = answer_key(IDENTITY, PARAMETERS, REQUEST)
    assert answer_key(IDENTITY, PARAMETERS, replace(REQUEST, id="item-2")) == key
    assert answer_key(dict(reversed(IDENTITY.items())), PARAMETERS, REQUEST) == key
    assert answer_key(IDENTITY, GenerationParameters(max_tokens=8, temperature=0, top_p=1), REQUEST) == key


def test_the_key_is_the_same_in_every_version():
    """A log that was paid for is read by its keys."""
    assert answer_key(IDENTITY, PARAMETERS, REQUEST) == "2e7ecdf5f4dd6bd1d48decfc07391679"


def test_an_identity_is_plain_json():
    with pytest.raises(TypeError):
        answer_key({"model": object()}, PARAMETERS, REQUEST)
