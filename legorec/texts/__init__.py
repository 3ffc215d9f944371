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

__all__ = [
    "AnswerFormat",
    "GeneratedText",
    "GenerationParameters",
    "Message",
    "TextAnswer",
    "TextFailure",
    "TextGenerator",
    "TextRequest",
]
