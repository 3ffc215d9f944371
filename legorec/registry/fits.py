"""Which bricks go together, told from their class attributes and the arguments of their ``forward``.

A source ``gives`` tokens, one vector, hidden states or pooled layers, and an item encoder ``reads`` some of
these. A user encoder ``gives`` one vector a user, several interests, or the clicks as they are, and a
predictor or a user plugin ``takes`` some of these. Beyond its tensors a brick may name in its ``forward``
what ``EXTRAS`` lists for its kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from legorec.registry.bricks import KINDS, Brick, find, names

# What a brick may name in its forward behind its tensors, and what it is then given.
EXTRAS: dict[str, dict[str, str]] = {
    "user_encoder": {
        "user": "(B,) rows of the user table, -1 for a user that is not in it",
        "click_items": "(B, H) catalogue rows of the clicks",
        "states": "TokenStates of the clicked items, row b * H + h for click h of user b, empty where masked",
    },
    "user_plugin": {"user": "(B,) rows of the user table, -1 for a user that is not in it"},
    "predictor": {
        "mask": "(B, H) True where a click exists",
        "clicks": "(B, H, D) vectors of the clicked items",
        "click_items": "(B, H) catalogue rows of the clicks",
        "click_weights": "(B, H, M) of each interest, from a user encoder with a method of that name",
        "candidate_items": "(B, K) catalogue rows of the candidates",
        "candidate_mask": "(B, K) True where a candidate exists",
    },
}
NUM_TENSORS = {"source": 1, "item_encoder": 1, "user_encoder": 2, "user_plugin": 1, "predictor": 2}

# giver, what it may give, taker, how the taker names what it takes
_JOINTS = (
    ("source", "gives", "item_encoder", "reads"),
    ("user_encoder", "gives", "user_plugin", "takes"),
    ("user_encoder", "gives", "predictor", "takes"),
)
_DEFAULTS = {
    ("source", "gives"): "tokens",
    ("item_encoder", "reads"): ("tokens", "states"),
    ("user_encoder", "gives"): "vector",
    ("user_plugin", "takes"): ("vector", "interests"),
    ("predictor", "takes"): ("vector",),
}


def gives(brick: Brick) -> str:
    """What a source or a user encoder gives."""
    return brick.joints.get("gives", _DEFAULTS[brick.kind, "gives"])


def accepts(brick: Brick) -> tuple[str, ...]:
    """What an item encoder, a user plugin or a predictor can be given."""
    word = "reads" if brick.kind == "item_encoder" else "takes"
    return tuple(brick.joints.get(word, _DEFAULTS[brick.kind, word]))


def extras(brick: Brick) -> tuple[str, ...]:
    """What the brick's ``forward`` names beyond its tensors, apart from options that nothing offers."""
    if brick.kind not in NUM_TENSORS:
        return ()
    behind = list(brick.inputs.items())[NUM_TENSORS[brick.kind] :]
    return tuple(name for name, required in behind if required or name in EXTRAS.get(brick.kind, {}))


def misfits(chosen: Mapping[str, str]) -> list[tuple[str, str]]:
    """Why some bricks cannot work together: (kind, message), nothing where they can.

    Args:
        chosen: the name of a brick for each kind; kinds that are left out are not judged.

    Raises:
        RegistryError: there is no such brick.
    """
    bricks = {kind: find(kind, name) for kind, name in chosen.items()}
    found = []
    for giver, _, taker, word in _JOINTS:
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


def unknown_extras(brick: Brick) -> tuple[str, ...]:
    """What the brick's ``forward`` requires that nothing offers."""
    return tuple(each for each in extras(brick) if each not in EXTRAS.get(brick.kind, {}))


def _weighs(user_encoder: str) -> bool:
    return "click_weights" in find("user_encoder", user_encoder).methods


def _said(kind: str) -> str:
    return KINDS[kind].name.replace("_", " ")


def _listed(kind: str, values: tuple[str, ...]) -> str:
    """The bricks of a kind that give, or can be given, one of these."""
    bricks = [find(kind, name) for name in names(kind)]
    if kind in ("source", "user_encoder"):
        fitting = [each.name for each in bricks if gives(each) in values]
    else:
        fitting = [each.name for each in bricks if set(accepts(each)) & set(values)]
    return ", ".join(fitting) or "none"
