"""The fields that an answer holds, or what is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from legorec.texts.scheme import Answer, AnswerField, label_of

Value = str | list[str]

_FENCED = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_LINE_LABEL = re.compile(r"\n\s*\[[^\[\]\n]{1,40}\]")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.):])\s*")
_EDGES = " \t\r\n\"'`“”‘’[](){}.,;:*"
_NOTHING = {"", "none", "n/a", "na", "unknown", "not specified", "not applicable", "no region", "null"}
_TRIED = 20  # braces at which an object may begin


@dataclass(frozen=True)
class Parsed:
    """What was read from one answer.

    Args:
        fields: by name; where there is a ``problem`` it is empty.
        problem: why the answer is of no use, in words that do not depend on its text.
        left_out: parts that were left out of lists, by reason.
    """

    fields: dict[str, Value]
    problem: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)


class _Unusable(Exception):
    """Why an answer is of no use."""


def parse_answer(answer: Answer, text: str) -> Parsed:
    """The fields of an answer. An answer that lacks a required field is of no use as a whole.

    Words of a closed list are taken whatever their capitals, and are written as the list has them. What a
    text cannot hold in a store (half a surrogate pair) becomes ``?``.
    """
    left_out: Counter[str] = Counter()
    try:
        return Parsed(_fields(answer, text.encode("utf-8", "replace").decode(), left_out), None, left_out)
    except _Unusable as problem:
        return Parsed({}, str(problem), left_out)


def _fields(answer: Answer, text: str, left_out: Counter[str]) -> dict[str, Value]:
    if not text.strip():
        raise _Unusable("the answer is empty")
    if answer.form in ("choice", "text"):
        (name,) = answer.fields
        given: Mapping[str, Any] = {name: text}
    else:
        given = (_labelled if answer.form == "labelled" else _object)(answer, text)
    found: dict[str, Value] = {}
    for name, asked in answer.fields.items():
        value = _list(name, asked, given, left_out) if asked.kind == "list" else _text(name, asked, given)
        if value:
            found[name] = value
    if not found:
        raise _Unusable("none of the fields is there")
    return found


def _labelled(answer: Answer, text: str) -> dict[str, str]:
    """The text after each ``[label]``, up to the next label."""
    labels = {label_of(name, asked).casefold(): name for name, asked in answer.fields.items()}
    known = "|".join(re.escape(label) for label in labels)
    marks = [*re.finditer(rf"\[\s*({known})\s*\][ \t]*:?", text, re.IGNORECASE)]
    found: dict[str, str] = {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        part = text[mark.end() : end]
        other = _LINE_LABEL.search(part)
        found.setdefault(labels[mark[1].casefold()], part[: other.start()] if other else part)
    return found


def _object(answer: Answer, text: str) -> dict[str, Any]:
    """The values of a JSON object, also in prose, in a fence, or escaped as a text within a text."""
    found = _found_json(text)
    if isinstance(found, list) and len(answer.fields) == 1:
        return dict.fromkeys(answer.fields, found)
    if not isinstance(found, dict):
        raise _Unusable("no JSON object")
    given = {str(key).strip().casefold(): value for key, value in found.items()}
    keys = {name: label_of(name, asked).casefold() for name, asked in answer.fields.items()}
    return {name: given[key] for name, key in keys.items() if key in given}


def _found_json(text: str) -> Any:
    parts = [text, *(each[1] for each in _FENCED.finditer(text))]
    if "\\n" in text or '\\"' in text:  # escaped once too often
        parts.append(text.strip('" ').replace("\\n", "\n").replace('\\"', '"'))
    for part in parts:
        found = _decoded(part.strip(), whole=True)
        if isinstance(found, str):  # a JSON text that holds JSON
            found = _decoded(found.strip(), whole=True)
        if isinstance(found, dict | list):
            return found
    for part in parts:
        places = [each.start() for each in re.finditer(r"\{", part)][:_TRIED]
        for place in places:
            if isinstance(found := _decoded(part[place:]), dict):
                return found
    return None


def _decoded(text: str, whole: bool = False) -> Any:
    """The JSON that a text is, or begins with; None if there is none. Texts may hold bare newlines."""
    try:
        found, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return None if whole and text[end:].strip() else found


def _text(name: str, asked: AnswerField, given: Mapping[str, Any]) -> str:
    value = given.get(name)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    if value is not None and not isinstance(value, str):
        raise _Unusable(f"`{name}` is no text")
    text = " ".join((value or "").encode("utf-8", "replace").decode().split())
    if text and asked.choices is not None:
        known = _known(asked.choices)
        text = known.get(_plain(text), "")
        if not text and asked.required:
            raise _Unusable(f"`{name}` is outside the list")
    if not text and asked.required:
        raise _Unusable(f"no `{name}`" if value is None else f"`{name}` is empty")
    return text


def _list(name: str, asked: AnswerField, given: Mapping[str, Any], left_out: Counter[str]) -> list[str]:
    value = given.get(name)
    if value is None:
        if asked.required:
            raise _Unusable(f"no `{name}`")
        return []
    if isinstance(value, str):
        value = _split(value)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _Unusable(f"`{name}` is no list of texts")
    kept: dict[str, str] = {}
    known = None if asked.choices is None else _known(asked.choices)
    for each in value:
        phrase = " ".join(each.encode("utf-8", "replace").decode().split()).strip(_EDGES)
        plain = _plain(phrase)
        if plain in _NOTHING:
            continue
        if known is not None and plain not in known:
            left_out[f"`{name}` outside the list"] += 1
        elif asked.max_words is not None and len(phrase.split()) > asked.max_words:
            left_out[f"`{name}` with more than {asked.max_words} words"] += 1
        elif plain in kept:
            left_out[f"`{name}` named twice"] += 1
        elif asked.at_most is not None and len(kept) == asked.at_most:
            left_out[f"`{name}` after the first {asked.at_most}"] += 1
        else:
            kept[plain] = phrase if known is None else known[plain]
    if asked.required and len(kept) < asked.at_least:
        raise _Unusable(f"fewer than {asked.at_least} of `{name}`")
    return [*kept.values()] if len(kept) >= asked.at_least else []


def _split(text: str) -> list[str]:
    """The parts of a list that is written as lines, bullets, numbers, or with commas."""
    lines = [_BULLET.sub("", line) for line in text.split("\n")]
    return [part for line in lines for part in re.split(r"[,;|]", line)]


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(_EDGES).casefold()


def _known(choices: Sequence[str]) -> dict[str, str]:
    """The words of a closed list by how they are looked up."""
    return {_plain(each): each for each in choices}
