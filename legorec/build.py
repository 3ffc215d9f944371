"""Build bricks from their settings and from what only the program knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from legorec import registry


class BrickSettings(Protocol):
    """One ``{name: ..., key: value, ...}`` block, already checked against the brick's signature."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...


def build(kind: str, settings: BrickSettings, offered: Mapping[str, Any], place: str | None = None) -> Any:
    """Construct a brick.

    Args:
        kind: one of ``registry.KINDS``.
        offered: what the program knows, some or all of what that kind is offered; a brick gets what it names.
        place: of the brick in the model layer, for messages, if it is not called as its kind.

    Raises:
        ValueError: the brick refuses its settings, or needs what this model cannot offer.
    """
    known = registry.KINDS[kind].offered
    # Nothing is handed over that the table, and with it the docs, does not list.
    assert set(offered) <= set(known), f"{kind}: {set(offered) - set(known)}"
    brick = registry.find(kind, settings.name)
    asked = {part.name: part for part in brick.parameters if part.name in known}
    missing = [name for name, part in asked.items() if part.required and name not in offered]
    if missing:
        raise ValueError(
            f"model.{place or kind} '{settings.name}' needs `{missing[0]}` ({known[missing[0]]}), "
            "which this model does not have"
        )
    given = {name: offered[name] for name in asked if name in offered}
    try:
        return registry.construct(brick, {**settings.arguments, **given})
    except ValueError as error:
        raise ValueError(f"model.{place or kind} '{settings.name}': {error}") from error


def build_arguments(kind: str, settings: BrickSettings) -> dict[str, Any]:
    """The arguments of a brick with defaults filled in, without those that the program offers."""
    brick = registry.find(kind, settings.name)
    defaults = {part.name: part.default for part in brick.settable if not part.required}
    return defaults | dict(settings.arguments)
