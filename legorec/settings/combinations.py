"""Bricks that cannot work together are refused before anything is built, with what would fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legorec.compose import Composition, Problem
from legorec.compose.documents import join
from legorec.registry import (
    KINDS,
    RegistryError,
    asks_too_much,
    extras,
    find,
    gives,
    has_language_model,
    misfits,
    needs_interests,
    reads_one_source,
    reads_whole_batch,
)
from legorec.registry import names as registry_names
from legorec.settings.brick_places import PARTS, block_at, place_of
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.modes import MODES
from legorec.settings.schema import BrickSettings, DataSettings, EmbedSettings, ModelSettings


def judge_item_side(tree: Mapping[str, Any], composition: Composition) -> None:
    """Note an item side that is neither one source with its item encoder nor several parts with a join."""
    own = [kind for kind, row in KINDS.items() if row.of_part]
    parts, join = tree.get(PARTS), tree.get("join")
    if not parts:
        for kind in [each for each in own if each not in tree]:
            message = "is required: a block, or `parts` with one of each, and a `join`"
            _note_at(f"model.{kind}", message, composition)
        if join is not None:
            _note_at("model.join", f"is read where items have several `parts`, got {join!r}", composition)
        return
    for kind in own:
        if tree.get(kind) is not None:
            message = f"stands beside `parts`, each of which has its own {kind}: take one of the two out"
            _note_at(f"model.{kind}", message, composition)
    if join is None:
        known = " or ".join(f"{{name: {name}}}" for name in registry_names("join"))
        _note_at("model.join", f"is needed to make one vector of an item's `parts`: {known}", composition)
    name = block_at(tree, "user_encoder.name")
    try:
        asked = extras(find("user_encoder", name)) if isinstance(name, str) else ()
    except RegistryError:
        return  # noted where its name is read
    if wrong := reads_one_source(f"{name!r}", asked):
        _note_at("model.user_encoder.name", wrong, composition)


def judge_fit(bricks: Mapping[str, BrickSettings], composition: Composition, owner: str = "") -> None:
    """Note what a brick gives that its neighbour cannot take, and what it asks for that is not offered.

    Args:
        owner: the place of the part of the items whose bricks these are; empty: those of the model.
    """
    known = {}
    for kind, settings in bricks.items():
        try:
            brick = find(kind, settings.name)
        except RegistryError:
            continue  # noted where its name was read
        known[kind] = settings.name
        if wrong := asks_too_much(kind, brick.class_name, brick.inputs):
            _note(join(owner, kind), wrong, composition)
    for kind, message in misfits(known):
        _note(join(owner, kind), message, composition)
    for kind in known:
        if find(kind, known[kind]).is_of_the_package:
            _judge_widths(join(owner, kind), bricks[kind].arguments, composition)
        _judge_interests(kind, bricks[kind].arguments, known, composition)


def judge_offers(
    data: DataSettings, embed: EmbedSettings, model: ModelSettings, composition: Composition
) -> None:
    """Note what the other layers offer and no brick reads, and what a brick reads that they do not offer."""
    bricks = {place: (kind, brick.name) for place, (kind, brick) in model.bricks().items()}
    names = {place: brick for place, brick in bricks.items() if brick[1] != "?"}
    for offer, place, given, way in (
        ("profiles", "data.user_fields", bool(data.user_fields), "such as {gender: {}}"),
        ("codes", "embed.codes", embed.codes is not None, "{path: ...}; process/embed.py codes writes them"),
    ):
        reading = [brick for brick, (kind, name) in names.items() if offer in find(kind, name).offered]
        if given and not reading and len(names) == len(bricks):  # a misspelt brick may be the one
            message = f"is read by no brick of this model; these read it: {_readers(offer)}"
            _note_at(place, message, composition)
        if reading and not given:
            _note(reading[0], f"{names[reading[0]][1]!r} needs `{place}`, {way}", composition)


def judge_readings(data: DataSettings, model: ModelSettings, composition: Composition) -> None:
    """Note fields beside a text of which one is read by nobody, and a second language model."""
    sources = {
        place_of(name, "source"): find("source", part.source.name)
        for name, part in model.item_parts.items()
        if part.source.name != "?"
    }
    speaking = [place for place, brick in sources.items() if has_language_model(brick)]
    for place in speaking[1:]:
        message = f"is a second language model beside {speaking[0]}; one part of the items may have one"
        _note(place, message, composition)
    if not data.fields or data.text is None or len(sources) < len(model.item_parts):
        return
    for place, reading, who in (
        ("data.text", speaking, "a source of a language model, and this model has none"),
        ("data.fields", [each for each in sources if each not in speaking],
         "sources that are no language model, and this model has none"),
    ):  # fmt: skip
        if not reading:
            _note_at(place, f"stands beside the other reading of the items, and is for {who}", composition)


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


def _judge_widths(place: str, arguments: Mapping[str, Any], composition: Composition) -> None:
    """Torch says of a width of 0 or below what no user can read. Elsewhere a ``*_dim`` may be no width."""
    for key, value in arguments.items():
        if key.endswith("_dim") and isinstance(value, int) and value < 1:
            _note_at(f"model.{place}.{key}", f"must be at least 1, got {value}", composition)


def _judge_interests(
    kind: str, arguments: Mapping[str, Any], known: Mapping[str, str], composition: Composition
) -> None:
    for key in find(kind, known[kind]).joints.get("needs_interests", ()):
        if "user_encoder" in known:
            encoder = find("user_encoder", known["user_encoder"])
            said = f"the user encoder {encoder.name!r}"
            if wrong := needs_interests(said, gives(encoder), arguments.get(key) or 0):
                _note_at(f"model.{kind}.{key}", wrong, composition)


def _note(brick: str, message: str, composition: Composition) -> None:
    _note_at(f"model.{brick}.name", message, composition)


def _note_at(where: str, message: str, composition: Composition) -> None:
    if not composition.is_unresolved(where):
        composition.problems.append(Problem(composition.where(where), where, message))
