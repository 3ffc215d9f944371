"""Which bricks go together, told from their class attributes and the arguments of their ``forward``.

A source ``gives`` tokens, one vector, hidden states or pooled layers, and an item encoder ``reads`` some of
these. A user encoder ``gives`` one vector a user, several interests, or the clicks as they are, and a
predictor or a user plugin ``takes`` some of these. Beyond its tensors a brick may name in its ``forward``
what the extras of its kind are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legorec.registry.bricks import Brick, find, names
from legorec.registry.kinds import KINDS
from legorec.registry.rules import asked, not_offered


def gives(brick: Brick) -> str:
    """What a source or a user encoder gives."""
    return str(_joint(brick))


def accepts(brick: Brick) -> tuple[str, ...]:
    """What an item encoder, a user plugin or a predictor can be given."""
    return tuple(_joint(brick))


def has_language_model(brick: Brick) -> bool:
    """Whether a source reads the items as one text, for a language model (``LanguageSourceClass``)."""
    return {"language_model", "cache_plan"} <= set(brick.methods)


def _joint(brick: Brick) -> Any:
    kind = KINDS[brick.kind]
    return brick.joints.get(kind.joint, kind.unsaid)


def extras(brick: Brick) -> tuple[str, ...]:
    """What the brick's ``forward`` names beyond its tensors, apart from options that nothing offers."""
    return asked(brick.kind, brick.inputs)


def unknown_extras(brick: Brick) -> tuple[str, ...]:
    """What the brick's ``forward`` requires that nothing offers."""
    return not_offered(brick.kind, brick.inputs)


def misfits(chosen: Mapping[str, str]) -> list[tuple[str, str]]:
    """Why some bricks cannot work together: (kind, message), nothing where they can.

    Args:
        chosen: the name of a brick for each kind; kinds that are left out are not judged.

    Raises:
        RegistryError: there is no such brick.
    """
    bricks = {kind: find(kind, name) for kind, name in chosen.items()}
    found = []
    for taker, giver, word in ((kind.name, kind.giver, kind.joint) for kind in KINDS.values()):
        if giver not in bricks or taker not in bricks:
            continue
        given, wanted = gives(bricks[giver]), accepts(bricks[taker])
        if given not in wanted:
            found.append(
                (
                    taker,
                    f"{bricks[taker].name!r} {word} {' or '.join(wanted)}, but the {_said(giver)} "
                    f"{bricks[giver].name!r} gives {given}; {_said(taker)}s that fit: "
                    f"{_listed(taker, (given,))}; {_said(giver)}s that fit: {_listed(giver, wanted)}",
                )
            )
    if "source" in bricks and "states" in extras(bricks.get("user_encoder", bricks["source"])):
        given, wanted = gives(bricks["source"]), ("tokens", "states")
        if given not in wanted:
            found.append(
                (
                    "user_encoder",
                    f"{bricks['user_encoder'].name!r} reads the tokens of items, but the source "
                    f"{bricks['source'].name!r} gives {given}; sources that fit: {_listed('source', wanted)}",
                )
            )
    if not found and "user_encoder" in bricks and "predictor" in bricks:
        weighing = "click_weights" in extras(bricks["predictor"])
        if weighing and "click_weights" not in bricks["user_encoder"].methods:
            found.append(
                (
                    "predictor",
                    f"{bricks['predictor'].name!r} needs the weights of the clicks, which the user encoder "
                    f"{bricks['user_encoder'].name!r} does not tell; user encoders that fit: "
                    f"{', '.join(each for each in names('user_encoder') if _weighs(each)) or 'none'}",
                )
            )
    return found


def _weighs(user_encoder: str) -> bool:
    return "click_weights" in find("user_encoder", user_encoder).methods


def _said(kind: str) -> str:
    return KINDS[kind].said


def _listed(kind: str, values: tuple[str, ...]) -> str:
    """The bricks of a kind that give, or can be given, one of these."""
    bricks = [find(kind, name) for name in names(kind)]
    if KINDS[kind].giver:
        fitting = [each.name for each in bricks if set(accepts(each)) & set(values)]
    else:
        fitting = [each.name for each in bricks if gives(each) in values]
    return ", ".join(fitting) or "none"
