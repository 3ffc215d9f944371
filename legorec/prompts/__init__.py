"""Prompts: the clicks of a user and a candidate become the tokens that a causal language model reads."""

from legorec.prompts.prompt import Prompt
from legorec.prompts.segments import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    OfItems,
    ResponseSegment,
    Segment,
    TextSegment,
    UserSegment,
)
from legorec.prompts.stream import PromptStream
from legorec.prompts.vocabulary import PromptVocabulary

__all__ = [
    "AnswerSegment",
    "HistorySegment",
    "ItemSegment",
    "OfItems",
    "Prompt",
    "PromptStream",
    "PromptVocabulary",
    "ResponseSegment",
    "Segment",
    "TextSegment",
    "UserSegment",
]
