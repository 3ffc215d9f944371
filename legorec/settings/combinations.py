"""Bricks that cannot work together are refused before anything is built, with what would fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legorec.compose import Composition, Problem
from legorec.registry import (
    KINDS,
    RegistryError,
    asks_too_much,
    extras,
    find,
    gives,
    misfits,
    needs_interests,
    reads_whole_batch,
)
from legorec.registry import names as registry_names
from legorec.settings.modes import MODES
from legorec.settings.schema import BrickSettings, DataSettings, EmbedSettings, ExpSettings, ModelSettings


def judge_fit(bricks: Mapping[str, BrickSettings], composition: Composition) -> None:
    """Note what a brick gives that its neighbour cannot take, and what it asks for that is not offered."""
    known = {}
    for kind, settings in bricks.items():
        try:
            brick = find(kind, settings.name)
        except RegistryError:
            continue  # noted where its name was read
        known[kind] = settings.name
        if wrong := asks_too_much(kind, brick.class_name, brick.inputs):
            _note(kind, wrong, composition)
    for kind, message in misfits(known):
        _note(kind, message, composition)
    for kind in known:
        if find(kind, known[kind]).is_of_the_package:
            _judge_widths(kind, bricks[kind].arguments, composition)
        _judge_interests(kind, bricks[kind].arguments, known, composition)


def judge_offers(
    data: DataSettings, embed: EmbedSettings, model: ModelSettings, composition: Composition
) -> None:
    """Note what the other layers offer and no brick reads, and what a brick reads that they do not offer."""
    chosen = {kind: getattr(model, kind) for kind in KINDS}
    known = {brick.name for brick in chosen.values() if brick is not None}
    names = {kind: brick.name for kind, brick in chosen.items() if brick is not None and brick.name != "?"}
    for offer, place, given, way in (
        ("profiles", "data.user_fields", bool(data.user_fields), "such as {gender: {}}"),
        ("codes", "embed.codes", embed.codes is not None, "{path: ...}; process/embed.py codes writes them"),
    ):
        reading = [kind for kind, name in names.items() if offer in find(kind, name).offered]
        if given and not reading and "?" not in known:  # a misspelt brick may be the one
            message = f"is read by no brick of this model; these read it: {_readers(offer)}"
            _note_at(place, message, composition)
        if reading and not given:
            _note(reading[0], f"{names[reading[0]]!r} needs `{place}`, {way}", composition)


def _readers(offer: str) -> str:
    found = [(kind, name) for kind in KINDS for name in registry_names(kind)]
    return ", ".join(f"{kind} {name!r}" for kind, name in found if offer in find(kind, name).offered)


def judge_paging(model: ModelSettings, exp: ExpSettings, composition: Composition) -> None:
    """Note pages of items where the tokens of the whole batch are needed together."""
    name, page_size = model.user_encoder.name, exp.policy.item_page_size
    if name != "?":
        asked = extras(find("user_encoder", name))
        if wrong := reads_whole_batch(f"the user encoder {name!r}", asked, page_size):
            _note_at("exp.policy.item_page_size", wrong, composition)


def judge_export(model: ModelSettings, exp: ExpSettings, composition: Composition) -> None:
    """Note a user encoder whose users are no vectors that could be exported."""
    name, wanted = model.user_encoder.name, MODES[exp.mode].users
    if wanted and name != "?" and gives(find("user_encoder", name)) not in wanted:
        message = (
            f"must not be {exp.mode!r} with the user encoder {name!r}: its users are no vectors but clicks"
        )
        place = "exp.mode"
        _note_at(place, message, composition)


def _judge_widths(kind: str, arguments: Mapping[str, Any], composition: Composition) -> None:
    """Torch says of a width of 0 or below what no user can read. Elsewhere a ``*_dim`` may be no width."""
    for key, value in arguments.items():
        if key.endswith("_dim") and isinstance(value, int) and value < 1:
            _note(f"{kind}.{key}", f"must be at least 1, got {value}", composition)


def _judge_interests(
    kind: str, arguments: Mapping[str, Any], known: Mapping[str, str], composition: Composition
) -> None:
    for key in find(kind, known[kind]).joints.get("needs_interests", ()):
        if "user_encoder" in known:
            encoder = find("user_encoder", known["user_encoder"])
            said = f"the user encoder {encoder.name!r}"
            if wrong := needs_interests(said, gives(encoder), arguments.get(key) or 0):
                _note(f"{kind}.{key}", wrong, composition)


def _note(place: str, message: str, composition: Composition) -> None:
    _note_at(f"model.{place}" if "." in place else f"model.{place}.name", message, composition)


def _note_at(where: str, message: str, composition: Composition) -> None:
    if not composition.is_unresolved(where):
        composition.problems.append(Problem(composition.where(where), where, message))
