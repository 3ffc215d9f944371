"""An OpenAI-compatible endpoint as a source of texts; it needs no torch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from legorec.files.json_text import parse_json
from legorec.texts.dialects import DIALECTS, check_known
from legorec.texts.generator import (
    GeneratedText,
    GenerationParameters,
    TextAnswer,
    TextFailure,
    TextRequest,
)
from legorec.texts.in_flight import as_done, loop_in_thread
from legorec.texts.pace import Pace, backoff
from legorec.texts.posting import Post, Refused, Trouble, check_url
from legorec.texts.wire import PATHS, Api, BadReply, request_body, texts_of

REFUSALS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0


@dataclass
class _Fate:
    """What the requests of one call know of each other.

    Args:
        hopeless: why nothing more can be asked.
        answered: whether any request was.
        refused: reasons for which the server refused requests, each with their number.
    """

    hopeless: str | None = None
    answered: bool = False
    refused: Counter[str] = field(default_factory=Counter)

    def refuse(self, reason: str, base_url: str) -> None:
        """A server that answers none and refuses several for one reason will refuse them all."""
        if self.answered or self.hopeless is not None:
            return
        self.refused[reason] += 1
        if self.refused[reason] >= REFUSALS:
            self.hopeless = f"{base_url} refuses every request, {REFUSALS} so far: {reason}"


class EndpointTextGenerator:
    """Texts from a server that speaks the OpenAI protocol: OpenAI, vLLM, llama.cpp, Ollama, transformers.

    Requests that fail for reasons that may pass (429, 5xx, a broken connection, a timeout, a reply that is no
    JSON or holds no text) are sent again, after a wait that doubles, or as long as the server asks.

    Args:
        base_url: up to the version, as in http://localhost:8000/v1.
        model: its name there.
        server: its kind, a row of ``dialects.DIALECTS``; ``plain`` is sent what the protocol has, no more.
        api: ``completions`` sends the messages as one text, for models without a chat template.
        key_env: the environment variable with the key; None, or an unset one, sends none.
        structured: the server itself keeps to the format of an answer; else it is asked for in words.
        log_probabilities: asks for them.
        extra_body: more that each request says, as JSON.
        revision: which weights the name means, where it may come to mean others.
        concurrency: requests under way at once.
        requests_per_minute, tokens_per_minute: None is no limit.
        connect_timeout, read_timeout: in seconds.
        retries: how often a request is sent again.
        longest_wait: seconds of a ``Retry-After`` above which a request is given up.

    Raises:
        ValueError: an argument is wrong, or the server is of a kind that lacks what is asked of it.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        server: str = "plain",
        api: Api = "chat",
        key_env: str | None = "OPENAI_API_KEY",
        structured: bool = False,
        log_probabilities: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        revision: str = "",
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 120.0,
        retries: int = 5,
        longest_wait: float = 600.0,
    ) -> None:
        check_url(base_url)
        if server not in DIALECTS:
            raise ValueError(f"`server` must be one of {', '.join(DIALECTS)}, got {server!r}")
        if api not in PATHS:
            raise ValueError(f"`api` must be one of {', '.join(PATHS)}, got {api!r}")
        if not model:
            raise ValueError("`model` must name a model of the endpoint, got ''")
        for name, asked in (("structured", structured), ("log_probabilities", log_probabilities)):
            if asked and not getattr(DIALECTS[server], name):
                raise ValueError(f"`{name}` must be false with `server: {server}`, which does not have it")
        if structured and api == "completions":
            raise ValueError("`structured` must be false with `api: completions`, which take no schema")
        for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}")
        self.base_url, self.model, self.server, self.api = base_url, model, server, api
        self.structured, self.log_probabilities = structured, log_probabilities
        self.revision, self.extra_body = revision, dict(extra_body or {})
        self.key_env, self.concurrency, self.retries = key_env, concurrency, retries
        self.timeouts, self.longest_wait = (connect_timeout, read_timeout), longest_wait
        self.first_wait = FIRST_WAIT_S
        self._pace = Pace(requests_per_minute, tokens_per_minute)

    def __repr__(self) -> str:
        return f"EndpointTextGenerator({self.model!r} at {self.base_url})"

    @property
    def identity(self) -> dict[str, Any]:
        """The model and how it is asked, not where it runs: the same one elsewhere gives the same answers."""
        return {
            "kind": "endpoint",
            "model": PurePath(self.model).name if self.model.startswith("/") else self.model,
            "revision": self.revision,
            "server": self.server,
            "api": self.api,
            "structured": self.structured,
            "log_probabilities": self.log_probabilities,
            "extra_body": self.extra_body,
        }

    def count_tokens(self, request: TextRequest) -> int:
        """About as many: four bytes a token, and some around each message."""
        return sum(4 + -(-len(message.content.encode()) // 4) for message in request.messages)

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        """See ``TextGenerator``; what has been answered when nothing more can be asked comes first.

        Raises:
            ValueError: no such endpoint, key, model or parameter; ``openai`` is not installed.
        """
        check_known(self.server, parameters)
        fate = _Fate()

        def taken() -> Iterator[TextRequest]:
            for request in requests:
                if fate.hopeless is not None:
                    return
                yield request

        with loop_in_thread() as loop:
            post = Post(self.base_url, PATHS[self.api], self.key_env, self.timeouts, self.longest_wait)

            async def work(request: TextRequest) -> TextAnswer | TextFailure | None:
                return await self._answer(post, request, parameters, fate)

            try:
                for outcome in as_done(loop, taken(), work, self.concurrency):
                    if outcome is not None:
                        yield outcome
            finally:
                asyncio.run_coroutine_threadsafe(post.close(), loop).result()
        if fate.hopeless is not None:
            raise ValueError(f"{fate.hopeless} (model {self.model!r})")

    async def _answer(
        self,
        post: Post,
        request: TextRequest,
        parameters: GenerationParameters,
        fate: _Fate,
    ) -> TextAnswer | TextFailure | None:
        """Ask until all texts are there, or it is given up; None: nothing can be asked at all."""
        texts: list[GeneratedText] = []
        prompt_tokens: int | None = None
        completion_tokens: int | None = None
        tries = 0
        while len(texts) < parameters.num_texts:
            outcome = await self._try(post, request, parameters, len(texts))
            if not isinstance(outcome, Trouble):
                more, prompted, completed = outcome
                texts.extend(more)
                if prompted is not None:
                    prompt_tokens = (prompt_tokens or 0) + prompted
                if completed is not None:
                    completion_tokens = (completion_tokens or 0) + completed
                tries, fate.answered = 0, True
                continue
            if outcome.hopeless and fate.hopeless is None:
                fate.hopeless = outcome.reason
            if fate.hopeless is not None:
                return None
            tries += 1
            if outcome.unreached and tries > self.retries:
                fate.hopeless = f"nothing answers at {self.base_url}: {outcome.reason}, {tries} times"
                return None
            if not outcome.again:
                fate.refuse(outcome.reason, self.base_url)
            if not outcome.again or tries > self.retries:
                often = f", {tries} times" if tries > 1 else ""
                return TextFailure(request, outcome.reason + often, tuple(texts))
            if outcome.wait is not None:
                self._pace.pause(outcome.wait)
            await asyncio.sleep(backoff(tries - 1, self.first_wait, LONGEST_WAIT_S))
        return TextAnswer(request, tuple(texts), prompt_tokens, completion_tokens)

    async def _try(
        self, post: Post, request: TextRequest, parameters: GenerationParameters, before: int
    ) -> Trouble | tuple[tuple[GeneratedText, ...], int | None, int | None]:
        """Send once, when the pace allows it."""
        number = parameters.num_texts - before if DIALECTS[self.server].several else 1
        body = request_body(
            request,
            parameters,
            self.api,
            self.server,
            self.structured,
            self.log_probabilities,
            number,
            before,
        )
        reserved = self.count_tokens(request) + number * parameters.max_tokens
        await asyncio.sleep(self._pace.reserve(reserved))
        while (rest := self._pace.paused()) > 0:
            await asyncio.sleep(rest)
        try:
            content = await post.send({"model": self.model, **body, **self.extra_body})
        except Refused as refusal:
            return refusal.trouble
        wrapped = self.structured and request.format is not None and bool(request.format.choices)
        try:
            texts, prompt_tokens, completed = texts_of(parse_json(content), self.api, wrapped, number)
        except ValueError:
            return Trouble("the reply is no JSON")
        except BadReply as error:
            return Trouble(post.masked(str(error)))
        if prompt_tokens is not None and completed is not None:
            self._pace.correct(reserved - prompt_tokens - completed)
        return texts, prompt_tokens, completed
