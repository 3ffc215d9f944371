"""Rules between bricks, each asked twice: when the settings are read, and by the constructor that needs it.

A rule gives what is wrong, and nothing where all is right. Who asks says the rest: the settings name the
brick and the place, the constructor its class and its argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from legorec.registry.kinds import KINDS


def asked(kind: str, inputs: Mapping[str, bool]) -> tuple[str, ...]:
    """What a ``forward`` names behind its tensors, apart from options that nothing offers.

    Args:
        inputs: all that it names, in order, and whether that is required.
    """
    row = KINDS[kind]
    if row.num_tensors is None:
        return ()
    behind = list(inputs.items())[row.num_tensors :]
    return tuple(name for name, required in behind if required or name in row.extras)


def not_offered(kind: str, inputs: Mapping[str, bool]) -> tuple[str, ...]:
    """What of that nothing offers."""
    return tuple(name for name in asked(kind, inputs) if name not in KINDS[kind].extras)


def asks_too_much(kind: str, class_name: str, inputs: Mapping[str, bool]) -> str:
    """A ``forward`` may name the extras of its kind."""
    unknown = not_offered(kind, inputs)
    if not unknown:
        return ""
    named = ", ".join(f"`{each}`" for each in unknown)
    return f"{class_name}.forward asks for {named}; offered are {', '.join(KINDS[kind].extras) or 'nothing'}"


def reads_whole_batch(user_encoder: str, extras: Iterable[str], item_page_size: int) -> str:
    """Items are not encoded page by page where the user encoder reads their tokens, which are kept whole."""
    if not item_page_size or "states" not in extras:
        return ""
    return f"must be 0 with {user_encoder}, which reads the tokens of the whole batch, got {item_page_size}"


def needs_interests(user_encoder: str, given: str, weight: float) -> str:
    """Only several interests of one user can be alike, and be penalised for it."""
    if not weight or given == "interests":
        return ""
    return f"must be 0 with {user_encoder}, which gives {given} and not interests, got {weight}"


def reads_one_source(user_encoder: str, extras: Iterable[str]) -> str:
    """Items that are joined from several parts have no tokens of their own."""
    if "states" not in extras:
        return ""
    return f"{user_encoder} reads the tokens of items, and items of several parts have none in common"
