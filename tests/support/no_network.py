"""Imported, or as ``sitecustomize`` of a process: whatever would reach a network fails at once.

Sockets of the system itself stay open, over which processes of one machine talk.
"""

import socket
from collections.abc import Callable
from typing import Any


def refuse(*_: object, **__: object) -> None:
    raise OSError(101, "Network is unreachable")


def within_the_system(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: socket.socket, *given: Any) -> Any:
        local = self.family == getattr(socket, "AF_UNIX", None)
        return call(self, *given) if local else refuse()

    return checked


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, within_the_system(getattr(socket.socket, name)))
for name in ("create_connection", "getaddrinfo", "gethostbyname"):
    setattr(socket, name, refuse)
