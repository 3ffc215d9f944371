"""Build what makes item vectors: a source with its item encoder, or several of them and a join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from legorec.abilities import LanguageSource
from legorec.build import build
from legorec.data.vectors import ITEMS
from legorec.item_parts import PartsItemEncoder, PartsSource, joined_width, learns_items
from legorec.recipes.inputs.given_vectors import read_tables
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.inputs.token_table import check_token_table
from legorec.registry import Brick, find, has_language_model
from legorec.settings.brick_places import place_of

if TYPE_CHECKING:
    from legorec.batch import TokenVectors
    from legorec.settings import Settings
    from legorec.settings.schema import PartSettings


def build_items(
    settings: Settings, data: Data, offered: Mapping[str, Any]
) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """The source and the item encoder, and what the bricks after them are offered.

    Args:
        offered: what the program offers to all bricks, without given vectors.
    Raises:
        ValueError: a brick refuses what it is given, or the parts are of different widths.
    """
    offered, parts = dict(offered), settings.model.item_parts
    if data.language_model is not None and len(parts) == 1:
        check_token_table(settings.embed, data.language_model)
    else:
        offered["vectors"] = read_tables(settings.embed, data)
    bricks = {name: find("source", part.source.name) for name, part in parts.items()}
    built: dict[str, tuple[nn.Module, nn.Module]] = {}
    for name, part in parts.items():
        given = offered | {"catalog": data.reading(has_language_model(bricks[name]))}
        if "vectors" in offered:
            given["vectors"] = tables_for(bricks[name], bricks.values(), offered["vectors"])
        built[name], longest = build_part(name, part, given, bricks[name])
    if settings.model.join is None:
        ((source, item_encoder),) = built.values()
        behind = {"input_dim": item_encoder.output_dim, "token_dim": source.dim}
        return source, item_encoder, offered | longest | behind
    encoders = {name: encoder for name, (_, encoder) in built.items()}
    width = {"input_dim": joined_width(encoders)}
    join = build("join", settings.model.join, width | {"num_parts": len(parts)})
    sources = {name: each for name, (each, _) in built.items()}
    source = PartsSource(sources, data.num_items, least_clicks_of(parts, sources))
    dropout = {name: part.dropout for name, part in parts.items()}
    return source, PartsItemEncoder(encoders, join, dropout, source.learning), offered | width


def least_clicks_of(parts: Mapping[str, PartSettings], sources: Mapping[str, nn.Module]) -> int:
    """How many users must have clicked an item for parts that learn single items to know it.

    Raises:
        ValueError: another part has the setting, or these differ in it.
    """
    asked = {name: parts[name].least_clicks for name, source in sources.items() if learns_items(source)}
    for name, part in parts.items():
        if part.least_clicks and name not in asked:
            raise ValueError(
                f"model.parts.{name}.least_clicks: this part learns no single items, so it reads all of them"
            )
    if len(set(asked.values())) > 1:
        listed = ", ".join(f"{name} {least}" for name, least in asked.items())
        raise ValueError(f"parts that learn single items must share `least_clicks`, got {listed}")
    return max(asked.values(), default=0)


def build_part(
    name: str, part: PartSettings, offered: Mapping[str, Any], brick: Brick
) -> tuple[tuple[nn.Module, nn.Module], dict[str, int]]:
    """A source with its item encoder, both at the rate of the part, and the length of the longest item."""
    source = build("source", part.source, offered, place_of(name, "source"))
    longest: dict[str, int] = {}
    if "catalog" in brick.offered:
        lengths = offered["catalog"].lengths.sum(1)
        longest["max_tokens"] = int(lengths.max()) if len(lengths) else 0
    states = {"input_dim": source.dim, "field_kinds": source.field_kinds}
    if isinstance(source, LanguageSource):
        states |= {"pretrained": source.pretrained, "depth": source.depth}
    known = {**offered, **longest, **states}
    item_encoder = build("item_encoder", part.item_encoder, known, place_of(name, "item_encoder"))
    for module in (source, item_encoder):
        module.learning_rate = part.lr  # read by ``engine.optim``
    return (source, item_encoder), longest


def tables_for(
    source: Brick, sources: Iterable[Brick], tables: Mapping[str, TokenVectors]
) -> Mapping[str, TokenVectors]:
    """The given tables that are meant for a source: that of the items is for those that read no tokens."""
    by_item = [each for each in sources if "vectors" in each.offered and "catalog" not in each.offered]
    if ITEMS not in tables or not by_item:
        return tables
    return {name: table for name, table in tables.items() if (name == ITEMS) == (source in by_item)}
