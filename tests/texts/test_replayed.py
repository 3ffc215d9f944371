from dataclasses import replace

from legorec.texts import (
    GeneratedText,
    GenerationParameters,
    Message,
    TextAnswer,
    TextFailure,
    TextGenerator,
    TextRequest,
    answer_key,
)
from legorec.texts.replayed import ReplayedTextGenerator

IDENTITY = {"kind": "endpoint", "model": "small"}
GREEDY = GenerationParameters(max_tokens=8)
REQUEST = TextRequest("one", (Message("user", "What?"),), template="cs")
ANSWER = TextAnswer(REQUEST, (GeneratedText("That."),), 3, 2)


def replayed():
    recorded = {answer_key(IDENTITY, GREEDY, REQUEST): ANSWER}
    return ReplayedTextGenerator(recorded, IDENTITY, "answers.jsonl")


def test_what_was_recorded_is_answered_for_whoever_asks():
    other = replace(REQUEST, id="two")
    assert isinstance(replayed(), TextGenerator)
    assert list(replayed().generate([REQUEST, other], GREEDY)) == [ANSWER, replace(ANSWER, request=other)]
    assert replayed().identity == IDENTITY and replayed().count_tokens(REQUEST) == 0


def test_what_was_not_is_a_failure_that_says_so():
    changed = replace(REQUEST, template="cs-2")
    (found,) = replayed().generate([changed], GREEDY)
    assert isinstance(found, TextFailure) and found.request == changed
    assert found.reason == "answers.jsonl holds no answer to it"
    (found,) = replayed().generate([REQUEST], GenerationParameters(max_tokens=9))
    assert isinstance(found, TextFailure)
