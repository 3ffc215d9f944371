"""The key of an answer: what was asked, of whom, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from legorec.files.digest import digest_bytes
from legorec.texts.generator import AnswerFormat, GenerationParameters, TextRequest


def answer_key(identity: Mapping[str, Any], parameters: GenerationParameters, request: TextRequest) -> str:
    """The blake2b digest of all that an answer depends on, 32 hexadecimal digits.

    These are the generator's ``identity``, every parameter, the template's name, the rendered messages and
    the format. The request's ``id`` is not: two items with one prompt share an answer.

    Raises:
        TypeError: ``identity`` or a schema is not plain JSON.
    """
    asked = {
        "identity": identity,
        "parameters": asdict(parameters),
        "template": request.template,
        "messages": [asdict(message) for message in request.messages],
        "format": None if request.format is None else _plain(request.format),
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return digest_bytes(text.encode("ascii"))


def _plain(form: AnswerFormat) -> dict[str, Any]:
    """A schema as one text, in its own order: a model fills its properties in that order."""
    return {"schema": None if form.schema is None else json.dumps(form.schema), "choices": form.choices}
