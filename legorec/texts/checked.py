"""Whether an answer has the form that was asked for."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from legorec.files.json_text import parse_json
from legorec.texts.generator import AnswerFormat
from legorec.texts.schemas import adapter_of

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


class AnswerError(ValueError):
    """An answer of another form than was asked for."""


def answer_value(text: str, form: AnswerFormat) -> Any:
    """The choice, or the value of the JSON, in an answer.

    Blanks around it are no part of it, nor is a fence of three backquotes around JSON, which models like to
    put there when they are asked in words.

    Raises:
        AnswerError: it is none of the choices, is no JSON, or does not fit the schema.
        SchemaError: the schema itself cannot be checked.
    """
    if form.schema is None:
        choice = text.strip()
        if choice not in form.choices:
            raise AnswerError(f"{_short(choice)} is none of the {len(form.choices)} choices")
        return choice
    adapter = adapter_of(form.schema)
    fenced = _FENCE.fullmatch(text)
    try:
        value = parse_json(fenced[1] if fenced else text)
    except ValueError as error:
        raise AnswerError(f"{_short(text)} is no JSON: {error}") from None
    try:
        # As JSON, where a list is a list; a Python value would be held to Python's types.
        adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise AnswerError(f"{place}: {first['msg']}") from None
    return value


def in_words(form: AnswerFormat) -> str:
    """What to say to a model that is not held to the form otherwise."""
    if form.schema is None:
        listed = "\n".join(f"- {choice}" for choice in form.choices)
        return f"Answer with exactly one of these, and nothing else:\n{listed}"
    return f"Answer with JSON alone that fits this schema:\n{json.dumps(form.schema, ensure_ascii=False)}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
