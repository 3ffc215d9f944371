"""Items from several sources side by side, as one source and one item encoder.

Each part has a source and an item encoder of its own; a join makes one vector of theirs. ``PartsSource`` and
``PartsItemEncoder`` are used like any other source and item encoder. Who asks for each source, such as the
memory estimate, goes through ``item_parts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from legorec.abilities import EmbedsNewItems, LearnsItems, Prefetches, RowsOf
from legorec.batch import TokenStates
from legorec.nn.dropout import kept
from legorec.nn.sending import sent

if TYPE_CHECKING:
    from legorec.data.catalog import Tokens

ONLY = ""  # the name of the one part of an item that has a single source


class ItemPart(NamedTuple):
    """One source with its item encoder."""

    name: str
    source: nn.Module
    item_encoder: nn.Module


@dataclass(frozen=True)
class PartStates:
    """What each source gives of ``N`` items."""

    parts: Mapping[str, TokenStates | None]  # None: nothing is known of these items there
    seen: Tensor | None  # (N,) True for items that a part which learns single items knows, where one does


class PartsSource(nn.Module):
    """Items -> the states of each part.

    Args:
        sources: of each part, by name.
        num_items: of the store.
        least_clicks: a part that learns single items knows those that so many users clicked in training; 0:
            all that training sees.
    """

    gives: ClassVar[str] = "parts"

    def __init__(self, sources: Mapping[str, nn.Module], num_items: int, least_clicks: int = 0) -> None:
        super().__init__()
        self.least_clicks = least_clicks
        self.names = tuple(sources)
        for name, source in sources.items():
            self.add_module(_member(name), source)
        self.learning = frozenset(name for name, source in sources.items() if learns_items(source))
        self.seen: Tensor | None
        # It is saved with the weights, so that a loaded run needs no training data.
        self.register_buffer("seen", torch.zeros(num_items, dtype=torch.bool) if self.learning else None)

    def __getitem__(self, name: str) -> nn.Module:
        return self.get_submodule(_member(name))

    def forward(self, items: Tensor) -> PartStates:
        """States of ``items`` (N,), rows of the catalogue on the host."""
        seen = None
        if self.seen is not None:
            seen = self.seen.index_select(0, *sent(self.seen.device, items))
        return PartStates({name: self[name](items) for name in self.names}, seen)

    def embed_parts(self, tokens: Mapping[str, Tokens]) -> PartStates:
        """States of new items, from the tokens of each part; one that learns single items knows nothing."""
        parts: dict[str, TokenStates | None] = {}
        for name in self.names:
            source = self[name]
            parts[name] = source.embed(tokens[name]) if isinstance(source, EmbedsNewItems) else None
        return PartStates(parts, None)

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``seen`` for each item."""
        return {} if self.seen is None else {"seen": [RowsOf("items", len(self.seen))]}

    def prefetch(self, items: Tensor) -> None:
        """Let each source begin to fetch what it needs of ``items``."""
        for name in self.names:
            source = self[name]
            if isinstance(source, Prefetches):
                source.prefetch(items)

    def note_seen(self, seen_N: Tensor, clicks_N: Tensor) -> None:
        """Note which items training shows often enough; all others are zero in a part that learns single
        items."""
        if self.seen is not None:
            self.seen.copy_(seen_N & (clicks_N >= self.least_clicks))


class PartsItemEncoder(nn.Module):
    """The states of each part -> one vector, joined from those of the parts.

    Args:
        encoders: of each part, by name.
        join: (N, P, D) and (N, P) True where an item has that part -> (N, D).
        dropout: the share of items that a part is left out of in training, by its name (DropoutNet; Volkovs
            et al., 2017). The others are not scaled up. An item whose parts would all be left out keeps them.
        learning: the parts that learn single items and so know nothing of one that training never saw.
    Raises:
        ValueError: the encoders give vectors of different widths.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        join: nn.Module,
        dropout: Mapping[str, float],
        learning: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.names = tuple(encoders)
        self.output_dim = joined_width(encoders)
        for name, encoder in encoders.items():
            self.add_module(_member(name), encoder)
        self.join = join
        self.rates = tuple(dropout.get(name, 0.0) for name in self.names)
        self.learning = learning

    def __getitem__(self, name: str) -> nn.Module:
        return self.get_submodule(_member(name))

    def forward(self, states: PartStates) -> Tensor:
        """(N, D). A part counts for items with a token there; if it learns single items, for those seen."""
        found = {name: self[name](part) for name, part in states.parts.items() if part is not None}
        like = next(iter(found.values()))
        mask_NP = self._left(self._there(states, like))
        vectors = [found[name] if name in found else torch.zeros_like(like) for name in self.names]
        parts_NPD = torch.stack([each.to(_widest(vectors)) for each in vectors], 1)
        # Selected and not multiplied: what is masked gets a gradient of exactly zero, whatever stands there.
        return self.join(torch.where(mask_NP.unsqueeze(2), parts_NPD, 0.0), mask_NP)

    def _there(self, states: PartStates, like: Tensor) -> Tensor:
        """(N, P) True where an item has a part."""
        filled = [
            torch.zeros(len(like), dtype=torch.bool) if part is None else part.lengths.sum(1) > 0
            for part in (states.parts[name] for name in self.names)
        ]
        everywhere = all(bool(each.all()) for each in filled)
        if everywhere:
            mask_NP = torch.ones(len(like), len(filled), dtype=torch.bool, device=like.device)
        else:
            (mask_NP,) = sent(like.device, torch.stack(filled, 1))
        if states.seen is None or not self.learning:
            return mask_NP
        columns = [
            states.seen if name in self.learning else torch.ones_like(states.seen) for name in self.names
        ]
        return mask_NP & torch.stack(columns, 1)

    def _left(self, mask_NP: Tensor) -> Tensor:
        """The same after some parts were left out at random, in training."""
        if not self.training or not any(self.rates):
            return mask_NP
        drawn = torch.cat([kept(len(mask_NP), rate, mask_NP.device) for rate in self.rates], 1)
        left_NP = mask_NP & drawn
        return torch.where(left_NP.any(1, keepdim=True), left_NP, mask_NP)


def joined_width(encoders: Mapping[str, nn.Module]) -> int:
    """The width of the parts' item vectors.

    Raises:
        ValueError: they differ.
    """
    widths: dict[str, Any] = {name: encoder.output_dim for name, encoder in encoders.items()}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(f"the parts of an item must give vectors of one width (`hidden_dim`), got {listed}")
    return int(next(iter(widths.values())))


def item_parts(source: nn.Module, item_encoder: nn.Module) -> tuple[ItemPart, ...]:
    """Each source with its item encoder; one for items that have a single source."""
    if not isinstance(source, PartsSource) or not isinstance(item_encoder, PartsItemEncoder):
        return (ItemPart(ONLY, source, item_encoder),)
    return tuple(ItemPart(name, source[name], item_encoder[name]) for name in source.names)


def new_states(source: nn.Module, tokens: Mapping[str, Tokens]) -> TokenStates | PartStates:
    """What the item encoder reads of items that are in no store.

    Args:
        tokens: of each part that embeds new items, by its name.
    """
    if isinstance(source, PartsSource):
        return source.embed_parts(tokens)
    assert isinstance(source, EmbedsNewItems)
    return source.embed(tokens[ONLY])


def learns_items(source: nn.Module) -> bool:
    """Whether a source knows an item only from training."""
    return isinstance(source, LearnsItems) and bool(source.learns_items)


def _member(name: str) -> str:
    """What a part is called as a module; the prefix keeps it apart from the attributes of every module."""
    return f"part_{name}"


def _widest(vectors: list[Tensor]) -> torch.dtype:
    dtype = vectors[0].dtype
    for each in vectors[1:]:
        dtype = torch.promote_types(dtype, each.dtype)
    return dtype
