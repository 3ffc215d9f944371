"""Imported, or as ``sitecustomize`` of a process: whatever would reach a network fails at once."""

import socket


def refuse(*_: object, **__: object) -> None:
    raise OSError(101, "Network is unreachable")


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
for name in ("create_connection", "getaddrinfo", "gethostbyname"):
    setattr(socket, name, refuse)
