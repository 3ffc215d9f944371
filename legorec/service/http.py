"""The service on a port: HTTP/1.1 with JSON, a thread for each connection."""

from __future__ import annotations

import json
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from legorec.service.answers import Answers
from legorec.service.gathering import Closed
from legorec.service.requests import Refused, parsed

PATIENCE = 30.0  # seconds that a connection may be silent
CONNECTIONS = 256  # at a time

Place = Callable[[Mapping[str, Any]], dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "legorec", ""
    timeout = PATIENCE
    disable_nagle_algorithm = True
    server: Service

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def handle_expect_100(self) -> bool:
        """Ask for the body only where it will be read."""
        try:
            self._check_length()
        except Refused as refused:
            self._send(refused.status, refused.body())
            return False
        return super().handle_expect_100()

    def _respond(self) -> None:
        try:
            self._send(200, self._place()(parsed(self._body()) if self.command == "POST" else {}))
        except Refused as refused:
            self._send(refused.status, refused.body())
        except Closed:
            self.close_connection = True
            self._send(503, {"error": "the service is about to stop"})
        except OSError:  # the client has left
            self.close_connection = True
        except Exception:  # what a client sees of it says nothing of the program
            traceback.print_exc()
            self.close_connection = True
            with suppress(OSError):
                self._send(500, {"error": "the service failed; its log says how"})

    def _place(self) -> Place:
        path = self.path.partition("?")[0]
        places = self.server.answers.places
        allowed = [method for method, place in places if place == path]
        if not allowed:
            self.close_connection = True  # a body may follow, which is not read
            names = ", ".join(sorted(f"{method} {place}" for method, place in places))
            raise Refused(404, f"there is no {path[:80]} here; there are {names}")
        if self.command not in allowed:
            self.close_connection = True
            self.extra["Allow"] = ", ".join(allowed)
            raise Refused(405, f"{path} takes {' or '.join(allowed)}, not {self.command}")
        return places[self.command, path]

    def _check_length(self) -> int:
        said = self.headers.get("Content-Length")
        self.close_connection = True  # until it is known that the body will be read
        if said is None:
            raise Refused(411, "a request with a body says how long it is, in Content-Length")
        if not (said.isascii() and said.isdecimal()):
            raise Refused(400, "Content-Length must be a whole number of bytes")
        if len(said) > 15 or int(said) > self.server.answers.limits.body:
            raise Refused(413, f"a body may have {self.server.answers.limits.body:,} bytes at most")
        return int(said)

    def _body(self) -> bytes:
        closes = self.close_connection
        length = self._check_length()
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the body ended early")
        self.close_connection = closes
        return data

    @property
    def extra(self) -> dict[str, str]:
        """Headers of the next answer."""
        return self.__dict__.setdefault("_extra", {})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in self.__dict__.pop("_extra", {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, a request line that is none or too long, is told as JSON too."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self._send(405 if code == 501 else code, {"error": message or explain or "the request is no HTTP"})

    def log_message(self, format: str, *values: Any) -> None:
        """Requests are not logged: they hold histories."""


class Service(ThreadingHTTPServer):
    """The service.

    Args:
        answers: what is asked.
        address: host and port; port 0 takes a free one, see ``server_port``.
        connections: at a time; more are told so.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, answers: Answers, address: tuple[str, int], connections: int = CONNECTIONS) -> None:
        self.answers = answers
        self._open: set[socket.socket] = set()
        self._lock, self._most = threading.Lock(), connections
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, unless there are too many."""
        with self._lock:
            if full := len(self._open) >= self._most:
                pass
            else:
                self._open.add(request)
        if not full:
            super().process_request(request, client_address)
            return
        data = b'{"error": "too many connections; try again later"}'
        head = f"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        with suppress(OSError):
            request.sendall(head.encode() + b"Connection: close\r\n\r\n" + data)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """A connection has ended."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()

    def stop(self) -> None:
        """Answer the requests that have come, take no more, and end; called while another thread serves."""
        self.shutdown()
        with self._lock:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RD)  # who waits for the next request reads its end
        self.server_close()
        self.answers.close()
