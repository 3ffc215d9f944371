"""The model layer of a prompted model: what one segment may hold, and which model there is."""

import pytest
from pydantic import ValidationError

from legorec.settings.prompted import LanguageModelSettings, SegmentSettings


@pytest.mark.parametrize(
    "kind",
    [
        {"text": ""},
        {"item": "{a}"},
        {"history": "{a}"},
        {"user": "a"},
        {"answer": ["y", "n"]},
        {"response": "{a}"},
    ],
)
def test_a_segment_is_of_one_kind(kind):
    assert SegmentSettings(name="part", **kind)
    for other in ({"text": "x"}, {"item": "{b}"}):
        if not other.keys() & kind.keys():
            with pytest.raises(ValidationError, match="give one of them"):
                SegmentSettings(name="part", **kind, **other)


def test_a_segment_without_a_kind_is_refused():
    with pytest.raises(ValidationError, match="a segment is a `text`, an `item`, a `history`, a `user`, an"):
        SegmentSettings(name="part")


@pytest.mark.parametrize(
    "given", [{"separator": ";"}, {"marks": ["liked"]}, {"last": 3}, {"budget": 9}, {"empty": "none"}]
)
def test_what_is_of_clicks_is_refused_elsewhere(given):
    assert SegmentSettings(name="part", history="{a}", **given)
    with pytest.raises(ValidationError, match=f"`{next(iter(given))}` is read with `history`[\\w` ]* only"):
        SegmentSettings(name="part", item="{a}", **given)


def test_a_user_segment_has_a_budget_and_may_be_of_nobody():
    segment = SegmentSettings(name="part", user="summary", budget=9, empty="NULL")
    assert segment.user_field == "summary" and SegmentSettings(name="part", user="none").user_field is None
    with pytest.raises(ValidationError, match="`marks` is read with `history` only"):
        SegmentSettings(name="part", user="summary", marks=["liked"])


@pytest.mark.parametrize("answer", [["yes"], ["yes", "no", "perhaps"], ["yes", ""]])
def test_there_are_two_answers(answer):
    with pytest.raises(ValidationError):
        SegmentSettings(name="part", answer=answer)


@pytest.mark.parametrize("given", [{}, {"checkpoint": "x", "scratch": {}}])
def test_there_is_one_model(given):
    with pytest.raises(ValidationError, match="give one of the two"):
        LanguageModelSettings(**given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"scratch": {}, "shard": True}, "`shard` is for frozen weights"),
        ({"scratch": {}, "bits": 8}, "`bits` is for frozen weights"),
        ({"checkpoint": "x", "lora": {"enabled": False}, "bits": 4}, "`bits` is for frozen weights"),
        ({"checkpoint": "x", "shard": True, "bits": 4}, "give `shard` or `bits`"),
        ({"scratch": {}, "lora": {"adapter": "x"}}, "`lora.adapter` is for a `checkpoint`"),
        ({"checkpoint": "x", "bits": 3}, "bits"),
    ],
)
def test_what_needs_frozen_weights_is_refused_without_them(given, match):
    with pytest.raises(ValidationError, match=match):
        LanguageModelSettings(**given)
