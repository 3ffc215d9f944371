"""Bricks that cannot work together are refused before anything is built, with what would fit."""

from __future__ import annotations

from collections.abc import Mapping

from legorec.compose import Composition, Problem
from legorec.registry import EXTRAS, KINDS, RegistryError, extras, find, gives, misfits, unknown_extras
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
        for name in unknown_extras(brick):
            offered = ", ".join(EXTRAS.get(kind, {})) or "nothing"
            _note(kind, f"{brick.class_name}.forward asks for `{name}`; offered are {offered}", composition)
    for kind, message in misfits(known):
        _note(kind, message, composition)
    for kind, settings in bricks.items():
        for key, value in settings.arguments.items():
            # Torch says of a width of 0 or below what no user can read.
            if key.endswith("_dim") and isinstance(value, int) and value < 1:
                _note(f"{kind}.{key}", f"must be at least 1, got {value}", composition)
    _judge_disagreement(bricks, known, composition)


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
    name = model.user_encoder.name
    if exp.policy.item_page_size and name != "?" and "states" in extras(find("user_encoder", name)):
        message = f"must be 0 with the user encoder {name!r}, which reads the tokens of the whole batch"
        place = "exp.policy.item_page_size"
        _note_at(place, f"{message}, got {exp.policy.item_page_size}", composition)


def judge_export(model: ModelSettings, exp: ExpSettings, composition: Composition) -> None:
    """Note a user encoder whose users are no vectors that could be exported."""
    name, wanted = model.user_encoder.name, MODES[exp.mode].users
    if wanted and name != "?" and gives(find("user_encoder", name)) not in wanted:
        message = (
            f"must not be {exp.mode!r} with the user encoder {name!r}: its users are no vectors but clicks"
        )
        place = "exp.mode"
        _note_at(place, message, composition)


def _judge_disagreement(
    bricks: Mapping[str, BrickSettings], known: Mapping[str, str], composition: Composition
) -> None:
    weight = bricks["objective"].arguments.get("disagreement") if "objective" in bricks else None
    if weight and "user_encoder" in known:
        encoder = find("user_encoder", known["user_encoder"])
        if gives(encoder) != "interests":
            message = f"must be 0 with the user encoder {encoder.name!r}, which gives {gives(encoder)}"
            _note("objective.disagreement", f"{message} and not interests, got {weight}", composition)


def _note(place: str, message: str, composition: Composition) -> None:
    _note_at(f"model.{place}" if "." in place else f"model.{place}.name", message, composition)


def _note_at(where: str, message: str, composition: Composition) -> None:
    if not composition.is_unresolved(where):
        composition.problems.append(Problem(composition.where(where), where, message))
