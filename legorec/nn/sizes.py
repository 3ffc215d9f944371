"""Checks of the sizes of layers; messages use the caller's names for them."""

from __future__ import annotations


def check_positive(**sizes: int) -> None:
    """Raises ValueError: one of the named sizes is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}")


def check_heads(heads: int, dim: int, name: str) -> None:
    """Raises ValueError: ``heads`` does not divide ``dim``, which the message calls ``name``."""
    if heads < 1 or dim % heads:
        raise ValueError(f"`heads` must divide `{name}` ({dim}), got {heads}")
