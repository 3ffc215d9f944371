"""Imported, or as ``sitecustomize`` of a process: whatever would reach a network fails at once.

Sockets of the system itself stay open, over which processes of one machine talk, and so does loopback by its
address, where a test's own server listens.
"""

import socket
from collections.abc import Callable
from typing import Any

LOOPBACK = ("127.0.0.1", "::1")


def refuse(*_: object, **__: object) -> None:
    raise OSError(101, "Network is unreachable")


def within_the_system(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: socket.socket, *given: Any) -> Any:
        address = given[-1] if given else None
        local = self.family == getattr(socket, "AF_UNIX", None)
        loopback = isinstance(address, tuple) and address[0] in LOOPBACK
        return call(self, *given) if local or loopback else refuse()

    return checked


def by_number(call: Callable[..., Any]) -> Callable[..., Any]:
    """Looks nothing up: a loopback address is its own answer."""

    def checked(host: Any, *given: Any, **options: Any) -> Any:
        name = host[0] if isinstance(host, tuple) else host
        return call(host, *given, **options) if name in LOOPBACK else refuse()

    return checked


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, within_the_system(getattr(socket.socket, name)))
for name in ("create_connection", "getaddrinfo"):
    setattr(socket, name, by_number(getattr(socket, name)))
socket.gethostbyname = refuse  # type: ignore[assignment]
