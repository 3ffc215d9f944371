"""A server of the OpenAI protocol on loopback, whose answers follow a script.

    with TextServer([Reply(status=429, headers={"Retry-After": "1"}), Reply()]) as server:
        ...  # asks server.url; replies beyond the script are plain ones

It counts what it was asked, how many at once, and keeps every request with its headers.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["hang", "broken", "half", "truncated", "not json"]


@dataclass(frozen=True)
class Reply:
    """One scripted reply.

    Args:
        texts: of the answer; None: what the server's ``answer`` makes of the prompt.
        error: the ``error`` of the body, where the status is not 200; None: a message of the status.
        fault: ``hang`` answers nothing; ``broken`` resets the connection; ``half`` ends it in the middle of
            the body; ``truncated`` sends JSON that ends too early as if it were whole; ``not json`` a page.
        body: in place of the whole body.
    """

    status: int = 200
    texts: tuple[str | None, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    fault: Fault | None = None
    finish: str = "stop"
    body: Any = None


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float  # time.monotonic

    @property
    def prompt(self) -> str:
        """The last message, or the prompt of a plain completion."""
        messages = self.body.get("messages")
        return messages[-1]["content"] if messages else self.body.get("prompt", "")


class TextServer:
    """The server, from entering to leaving.

    Args:
        script: replies by the order of requests, or a function of the request.
        answer: the text of a plain reply.
        latency: seconds before each reply.
        many: whether it knows ``n``; if not, one text comes whatever ``n`` says.
    """

    def __init__(
        self,
        script: Iterable[Reply] | Callable[[Asked], Reply] = (),
        answer: Callable[[str], str] = lambda prompt: f"answer to {prompt}",
        latency: float = 0.0,
        many: bool = True,
    ) -> None:
        self._script = script if callable(script) else iter(script)
        self.answer, self.latency, self.many = answer, latency, many
        self.asked: list[Asked] = []
        self.at_once = self.most_at_once = 0
        self._lock, self._closing = threading.Lock(), threading.Event()

    def __enter__(self) -> TextServer:
        handler = type("Handler", (_Handler,), {"texts": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def take(self, asked: Asked) -> Reply:
        """Note a request and find its reply."""
        with self._lock:
            self.asked.append(asked)
            if callable(self._script):
                return self._script(asked)
            return next(self._script, Reply())

    def count(self, change: int) -> None:
        """Note that a request has come, or is answered."""
        with self._lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def wait(self, seconds: float) -> None:
        """Until then, or until the server closes."""
        self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    texts: TextServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))
        asked = Asked(self.path, dict(self.headers.items()), body, time.monotonic())
        self.texts.count(1)
        try:
            reply = self.texts.take(asked)
            if self.texts.latency:
                self.texts.wait(self.texts.latency)
            if reply.fault == "hang":
                self.texts.wait(60.0)
        finally:
            self.texts.count(-1)
        self._send(reply, asked)

    def _send(self, reply: Reply, asked: Asked) -> None:
        if reply.fault in ("hang", "broken"):
            self.close_connection = True
            # To linger for no time is to reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        data = json.dumps(_body(reply, asked, self.texts) if reply.body is None else reply.body).encode()
        if reply.fault == "truncated":
            data = data[: len(data) // 2]
        elif reply.fault == "not json":
            data = b"<html>Bad gateway</html>"
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.fault == "half":
            data, self.close_connection = data[: len(data) // 2], True
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing goes to the terminal."""


def _body(reply: Reply, asked: Asked, server: TextServer) -> dict[str, Any]:
    """What a server of this protocol says."""
    if reply.status != 200:
        return {"error": {"message": f"status {reply.status}", "type": "scripted", **(reply.error or {})}}
    chat = asked.path.endswith("/chat/completions")
    number = asked.body.get("n") or 1
    texts = reply.texts or (server.answer(asked.prompt),) * (number if server.many else 1)
    wanted = bool(asked.body.get("logprobs")) or asked.body.get("logprobs") == 0
    return {
        "id": "scripted",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": asked.body.get("model", ""),
        "choices": [_choice(text, place, chat, wanted, reply.finish) for place, text in enumerate(texts)],
        "usage": {
            "prompt_tokens": len(asked.prompt.split()),
            "completion_tokens": sum(len((text or "").split()) for text in texts),
            "total_tokens": len(asked.prompt.split()),
        },
    }


def _choice(text: str | None, place: int, chat: bool, wanted: bool, finish: str) -> dict[str, Any]:
    """One text; a word is a token of log-probability -0.5."""
    words = (text or "").split()
    listed = [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in words]
    if chat:
        given: Any = {"content": listed} if wanted else None
        said = {"message": {"role": "assistant", "content": text}}
    else:
        given = {"tokens": words, "token_logprobs": [-0.5] * len(words)} if wanted else None
        said = {"text": text}
    return {"index": place, "finish_reason": finish, "logprobs": given, **said}
