"""Prompts -> texts: an endpoint, a local model or a recorded log behind one protocol; the log of answers."""

from legorec.texts.generator import (
    AnswerFormat,
    GeneratedText,
    GenerationParameters,
    Message,
    TextAnswer,
    TextFailure,
    TextGenerator,
    TextRequest,
)
from legorec.texts.keys import answer_key

__all__ = [
    "AnswerFormat",
    "GeneratedText",
    "GenerationParameters",
    "Message",
    "TextAnswer",
    "TextFailure",
    "TextGenerator",
    "TextRequest",
    "answer_key",
]
