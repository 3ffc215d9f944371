"""The OpenAI protocol: a request as the body that is sent, and what came back as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from legorec.texts.checked import in_words
from legorec.texts.dialects import DIALECTS
from legorec.texts.generator import AnswerFormat, GeneratedText, GenerationParameters, TextRequest

Api = Literal["chat", "completions"]
PATHS: dict[str, str] = {"chat": "/chat/completions", "completions": "/completions"}


class BadReply(Exception):
    """A reply that holds no text; its message says why."""


def request_body(
    request: TextRequest,
    parameters: GenerationParameters,
    api: Api,
    server: str,
    structured: bool,
    log_probabilities: bool,
    number: int,
    before: int,
) -> dict[str, Any]:
    """All that is sent but the model's name.

    Args:
        structured: the server is given the answer's format; else it is asked for in words.
        number: of texts, and ``before`` how many have come by earlier requests.
    """
    dialect = DIALECTS[server]
    form = request.format
    words = in_words(form) if form is not None and not structured else ""
    chat = api == "chat"
    body: dict[str, Any] = {
        dialect.limit if chat else "max_tokens": parameters.max_tokens,
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        **dialect.more(parameters),
    }
    messages = [{"role": each.role, "content": each.content} for each in request.messages]
    if words:
        messages[-1]["content"] += f"\n\n{words}"
    if chat:
        body["messages"] = messages
    else:
        body["prompt"] = "\n\n".join(each["content"] for each in messages)
    if parameters.stop:
        body["stop"] = list(parameters.stop)
    if parameters.seed is not None:
        body["seed"] = parameters.seed + before  # the same one would bring the same text again
    if number > 1:
        body["n"] = number
    if log_probabilities:
        body["logprobs"] = True if chat else 0
    if form is not None and structured:
        body["response_format"] = _response_format(form)
    return body


def _response_format(form: AnswerFormat) -> dict[str, Any]:
    """A closed list is a schema too: of an object, as the protocol allows no other root."""
    schema = form.schema
    if schema is None:
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(form.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def texts_of(
    reply: Any, api: Api, wrapped: bool, number: int
) -> tuple[tuple[GeneratedText, ...], int | None, int | None]:
    """The texts of a reply, and what it says of the tokens of prompt and texts.

    Args:
        wrapped: each text is an object with the one choice in it.
        number: of texts at most.

    Raises:
        BadReply: there is no text in it.
    """
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise BadReply("the reply holds no `choices`")
    given = reply.get("usage")
    usage: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    counts = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    texts = [_text(choice, api, wrapped) for choice in choices[:number]]
    if len(texts) == 1 and texts[0].num_tokens is None:
        one = texts[0]
        texts = [GeneratedText(one.text, one.log_probability, counts[1], one.finished)]
    if not any(each.text.strip() for each in texts):
        why = choices[0].get("finish_reason")
        raise BadReply("the answer is empty" + (f" (finish_reason: {why})" if isinstance(why, str) else ""))
    return tuple(texts), counts[0], counts[1]


def _text(choice: Any, api: Api, wrapped: bool) -> GeneratedText:
    if not isinstance(choice, Mapping):
        raise BadReply("a choice of the reply is no object")
    if api == "chat":
        message = choice.get("message")
        text = message.get("content") if isinstance(message, Mapping) else None
        refusal = message.get("refusal") if isinstance(message, Mapping) else None
        if text is None and isinstance(refusal, str) and refusal:
            raise BadReply(f"the model refused: {refusal[:200]}")
    else:
        text = choice.get("text")
    if text is not None and not isinstance(text, str):
        raise BadReply("a text of the reply is no string")
    text = text or ""
    values = _log_probabilities(choice.get("logprobs"), api)
    return GeneratedText(
        text=_unwrapped(text) if wrapped else text,
        log_probability=sum(values) if values else None,
        num_tokens=len(values) if values else None,
        finished=choice.get("finish_reason") != "length",
    )


def _unwrapped(text: str) -> str:
    """The choice in an object; what is not such an object stays as it came."""
    try:
        value = json.loads(text)["answer"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _log_probabilities(given: Any, api: Api) -> list[float]:
    """Of each token of a text; empty where the server does not say them all."""
    if not isinstance(given, Mapping):
        return []
    listed = given.get("content" if api == "chat" else "token_logprobs")
    if not isinstance(listed, list):
        return []
    if api == "chat":
        listed = [each.get("logprob") if isinstance(each, Mapping) else None for each in listed]
    values = [float(each) for each in listed if isinstance(each, int | float)]
    return values if len(values) == len(listed) else []


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
