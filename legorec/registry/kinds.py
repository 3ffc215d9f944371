"""The kinds of bricks: one row each, with all that depends on the kind of a brick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """A family of interchangeable bricks.

    Args:
        name: as the ``model`` layer has it.
        folder: of the package, where its bricks lie.
        suffix: of the names of their classes.
        offered: what the program gives to a constructor that names it; YAML may not set it.
        num_tensors: what ``forward`` is always given; None where a brick is called without one.
        extras: what a ``forward`` may name behind these, and what it is then given.
        joint: the class attribute by which a brick says what it gives, or what it can be given.
        unsaid: what the attribute is taken for where a class does not have it.
        giver: the kind whose bricks give what these can be given.
        optional: whether a model may do without.
        of_part: whether each part of an item has its own, where items have several sources.
    """

    name: str
    folder: str
    suffix: str
    offered: Mapping[str, str]
    num_tensors: int | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    joint: str = ""
    unsaid: str | tuple[str, ...] = ()
    giver: str = ""
    optional: bool = False
    of_part: bool = False

    @property
    def said(self) -> str:
        """The name in a sentence."""
        return self.name.replace("_", " ")


_DATA = {
    "catalog": "the items' fields and tokens, from the store and `data.fields`",
    "num_items": "how many items the store holds",
    "num_users": "how many users the store holds",
    "max_history": "how many clicks the longest history has, after `data.history.max_length`",
    "vectors": "the given vectors of `embed.tables`, where the model is no language model",
    "codes": "the semantic codes of the items, from `embed.codes`",
    "profiles": "the users' fields and tokens, from the store and `data.user_fields`",
}
# What is known as soon as there is a source.
_TOKENS = _DATA | {
    "max_tokens": "how many tokens the longest item has, where the source gives tokens or states"
}
_STATES = _TOKENS | {
    "input_dim": "the width of what the source gives",
    "field_kinds": "the kind of each field of the token states (text, category, ...), in order",
    "pretrained": "the checkpoint of the language model whose states the source gives",
    "depth": "how many language model layers the states have been through, or an item has",
}
_ITEMS = _TOKENS | {
    "input_dim": "the width of the item vectors",
    "token_dim": "the width of the source's token states",
}
_USER = {"user": "(B,) rows of the user table, -1 for a user that is not in it"}
_CLICK_ITEMS = {"click_items": "(B, H) catalogue rows of the clicks"}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "source",
            "sources",
            "Source",
            _DATA,
            num_tensors=1,
            joint="gives",
            unsaid="tokens",
            of_part=True,
        ),
        Kind(
            "item_encoder",
            "item_encoders",
            "ItemEncoder",
            _STATES,
            num_tensors=1,
            joint="reads",
            unsaid=("tokens", "states"),
            giver="source",
            of_part=True,
        ),
        Kind(
            "join",
            "joins",
            "Join",
            {"input_dim": "the width of the item vectors", "num_parts": "how many parts an item has"},
            num_tensors=2,
            optional=True,
        ),
        Kind(
            "user_encoder",
            "user_encoders",
            "UserEncoder",
            _ITEMS,
            num_tensors=2,
            extras={
                **_USER,
                **_CLICK_ITEMS,
                "states": "TokenStates of the clicked items, row b * H + h for click h of user b, "
                "empty where masked",
            },
            joint="gives",
            unsaid="vector",
        ),
        Kind(
            "user_plugin",
            "user_plugins",
            "UserPlugin",
            _ITEMS,
            num_tensors=1,
            extras=_USER,
            joint="takes",
            unsaid=("vector", "interests"),
            giver="user_encoder",
            optional=True,
        ),
        Kind(
            "predictor",
            "predictors",
            "Predictor",
            _ITEMS,
            num_tensors=2,
            extras={
                "mask": "(B, H) True where a click exists",
                "clicks": "(B, H, D) vectors of the clicked items",
                **_CLICK_ITEMS,
                "click_weights": "(B, H, M) of each interest, from a user encoder with a method of that name",
                "candidate_items": "(B, K) catalogue rows of the candidates",
                "candidate_mask": "(B, K) True where a candidate exists",
            },
            joint="takes",
            unsaid=("vector",),
            giver="user_encoder",
        ),
        Kind("objective", "objectives", "Objective", offered={}),
    )
}

EXTRAS = {kind.name: kind.extras for kind in KINDS.values() if kind.extras}
# The kinds whose bricks are modules of the model.
NUM_TENSORS = {kind.name: kind.num_tensors for kind in KINDS.values() if kind.num_tensors is not None}


def takers(giver: str) -> tuple[Kind, ...]:
    """The kinds whose bricks can be given what bricks of this kind give."""
    return tuple(kind for kind in KINDS.values() if kind.giver == giver)
