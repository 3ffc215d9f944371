"""The objects that the parts of a recommender hand to each other.

Dimensions, in code as suffixes: ``B`` examples, ``H`` history, ``K`` candidates, ``N`` distinct items of a
batch, ``F`` fields, ``L`` tokens, ``T`` tokens packed end to end, ``E`` token width, ``D`` item and user
width, ``M`` interests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from legorec.item_lists import ItemLists
from legorec.nn.fused import PermuteRows, gather_rows
from legorec.nn.row_places import row_places
from legorec.nn.segments import Segments
from legorec.nn.sending import sent


class Batch(Protocol):
    """What the training loop needs of a batch, whatever it holds."""

    @property
    def number(self) -> int:
        """Its place in the run, for messages."""

    @property
    def group(self) -> Tensor:
        """(B,) the impression, user or row that each example belongs to, for messages."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on a device."""


@dataclass(frozen=True)
class ClickBatch:
    """Histories and candidates of ``B`` examples over the ``N`` distinct items that they name.

    ``items`` stays on the host: sizes that depend on it are known there, so that no step waits for the
    device. ``history`` and ``candidates`` are positions in ``items``; where a mask is False the position is
    0 and means nothing.
    """

    items: Tensor  # (N,) rows of the catalogue, distinct, on the host
    history: Tensor  # (B, H) positions in items, oldest first
    history_mask: Tensor  # (B, H) True where a click exists
    candidates: Tensor  # (B, K) positions in items
    candidate_mask: Tensor  # (B, K) True where a candidate exists
    labels: Tensor  # (B, K) float32, 1 for a click
    user: Tensor  # (B,) rows of the user table
    group: Tensor  # (B,) what metrics group by
    span: Tensor  # (B,) which stored history this is
    number: int = -1  # its place in the run, for messages
    kept: tuple[Tensor, Tensor] | None = None  # history and its mask, on the host, of a batch that was moved
    placed: Tensor | None = None  # items, on the device, of a batch that was moved

    @property
    def history_on_host(self) -> tuple[Tensor, Tensor]:
        """``history`` and ``history_mask`` where their values can be read without waiting."""
        return self.kept or (self.history, self.history_mask)

    @property
    def items_there(self) -> Tensor:
        """``items`` where the batch is."""
        return self.items if self.placed is None else self.placed

    def to(self, device: torch.device | str) -> ClickBatch:
        """The same batch with everything on a device, in one copy, and ``items`` on the host besides."""
        parts = {
            part.name: value
            for part in fields(self)
            if part.name not in ("items", "placed") and isinstance(value := getattr(self, part.name), Tensor)
        }
        placed, *moved = sent(device, self.items, *parts.values())
        there = dict(zip(parts, moved, strict=True))
        return ClickBatch(
            items=self.items, number=self.number, kept=self.history_on_host, placed=placed, **there
        )


@dataclass(frozen=True)
class TokenBatch:
    """``B`` rows of tokens, packed end to end without padding. Each is a prompt, perhaps with its answer."""

    tokens: Tensor  # (T,)
    lengths: Tensor  # (B,) tokens of each row, on the host; none is empty
    learned: Tensor  # (S,) places in ``tokens`` of those that the model is to say; never the first of a row
    spans: Mapping[str, Tensor]  # of each segment: (B, 2) start and stop within the row, on the host
    group: Tensor  # (B,) what metrics group by
    label: Tensor  # (B,) float32, 1 for a click
    number: int = -1  # its place in the run, for messages
    item: Tensor | None = None  # (B,) the candidates, rows of the catalogue, on the host

    @property
    def ends(self) -> Tensor:
        """(B,) the place of each row's last token, on the host."""
        return self.lengths.cumsum(0) - 1

    def take(self, rows: np.ndarray) -> TokenBatch:
        """Some rows, in that order; of a batch that is on the host.

        Args:
            rows: (R,) distinct.
        """
        lengths = self.lengths.numpy()
        starts = lengths.cumsum() - lengths
        places = row_places(starts[rows], lengths[rows])
        moved = np.full(len(self.tokens), -1)
        moved[places] = np.arange(len(places))
        learned, chosen = moved[self.learned.numpy()], torch.from_numpy(rows)
        return TokenBatch(
            tokens=self.tokens[torch.from_numpy(places)],
            lengths=self.lengths[chosen],
            learned=torch.from_numpy(np.sort(learned[learned >= 0])),
            spans={name: span[chosen] for name, span in self.spans.items()},
            group=self.group[chosen],
            label=self.label[chosen],
            number=self.number,
            item=None if self.item is None else self.item[chosen],
        )

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch with tokens, places, groups and labels on a device, in one copy."""
        parts = (self.tokens, self.learned, self.group, self.label)
        tokens, learned, group, label = sent(device, *parts)
        return replace(self, tokens=tokens, learned=learned, group=group, label=label)


@dataclass(frozen=True)
class Clicks:
    """What is known of ``B`` users: their histories, oldest first, and who they are."""

    vectors: Tensor  # (B, H, D) of the clicked items
    mask: Tensor  # (B, H) True where a click exists
    items: Tensor | None  # (B, H) rows of the catalogue, where a brick reads them
    user: Tensor  # (B,) rows of the user table, -1 for a user that is not in it
    states: TokenStates | None = None  # of the clicked items, B * H rows, where a brick reads them

    def of(self, users: Tensor) -> Clicks:
        """The clicks of some users (R,), in that order, for scoring; without token states."""
        vectors, mask, user = (each.index_select(0, users) for each in (self.vectors, self.mask, self.user))
        items = None if self.items is None else self.items.index_select(0, users)
        return Clicks(vectors, mask, items, user)


@dataclass(frozen=True)
class TokenStates:
    """Token vectors of ``N`` items, packed without padding: item by item, inside an item field by field."""

    values: Tensor  # (T, E) on the device
    lengths: Tensor  # (N, F) int64 on the host; an empty field has length 0

    @classmethod
    def from_padded(cls, values_NLE: Tensor, mask_NL: Tensor) -> TokenStates:
        """Items of one field; the mask is True where there is a token, and padding may stand anywhere."""
        if values_NLE.dim() != 3 or mask_NL.shape != values_NLE.shape[:2]:
            shapes = f"{tuple(values_NLE.shape)} and {tuple(mask_NL.shape)}"
            raise ValueError(f"values (N, L, E) and a mask (N, L) are wanted, got {shapes}")
        is_token = mask_NL.bool()
        return cls(values_NLE[is_token.to(values_NLE.device)], is_token.sum(1, keepdim=True).cpu())

    @cached_property
    def by_item(self) -> Segments:
        """One row per item, its fields joined in order."""
        return Segments(self.lengths.sum(1))

    @cached_property
    def by_field(self) -> Segments:
        """One row per item and field, ``N * F`` of them."""
        return Segments(self.lengths.reshape(-1))

    def padded(self, field_index: int | None = None) -> tuple[Tensor, Tensor]:
        """(N, L, E) and the mask (N, L) of one field, or of the whole item when no field is named."""
        if field_index is None:
            return self.by_item.pad(self.values)
        values, lengths = self.select(field_index)
        return Segments(lengths).pad(values)

    def by_fields(self) -> list[tuple[Tensor, Segments]]:
        """The packed values of every field, each with one row per item: one gather for all of them."""
        num_items, num_fields = self.lengths.shape
        if num_fields == 1:
            return [(self.values, Segments(self.lengths[:, 0]))]
        lengths = self.lengths.numpy()
        ends = lengths.reshape(-1).cumsum().reshape(lengths.shape)
        starts, sizes = (ends - lengths).T.reshape(-1), lengths.T.reshape(-1)
        order = row_places(starts, sizes)
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        values = PermuteRows.apply(self.values, *sent(self.values.device, order, inverse))
        parts = values.split(lengths.sum(0).tolist())
        return [(part, Segments(self.lengths[:, index])) for index, part in enumerate(parts)]

    def take(self, items: Tensor) -> TokenStates:
        """The states of some items, in that order; of -1 there are none.

        Args:
            items: (R,) int64 on the host.
        """
        chosen = items.numpy()
        sizes = self.lengths.sum(1).numpy()
        starts = np.append(sizes.cumsum() - sizes, 0)[chosen]  # the added places are those of -1
        sizes = np.append(sizes, 0)[chosen]
        (index,) = sent(self.values.device, row_places(starts, sizes))
        lengths = torch.cat([self.lengths, self.lengths.new_zeros(1, self.lengths.shape[1])])[items]
        return TokenStates(gather_rows(self.values, index), lengths)

    def select(self, field_index: int) -> tuple[Tensor, Tensor]:
        """The packed values of one field and its lengths (N,)."""
        values, rows = self.by_fields()[field_index]
        return values, rows.lengths


FIELD_KINDS = ("text", "category", "categories", "number")


def check_field_kinds(kinds: Sequence[str]) -> None:
    """Raises ValueError: there is no field, or one that is no field of tokens."""
    if not kinds or not set(kinds) <= set(FIELD_KINDS):
        raise ValueError(f"`field_kinds` must be some of {', '.join(FIELD_KINDS)}, got {list(kinds)}")


@dataclass(frozen=True)
class TokenVectors:
    """A given table of vectors: one row per token of a vocabulary, or per item.

    ``frozen`` keeps it as it is. ``transform`` adds a learned projection after it: ``linear`` always,
    ``auto`` where its width is not the wanted one, ``none`` never, so that another width is an error.
    ``dropout`` is of what comes out.
    """

    weight: np.ndarray | Tensor
    frozen: bool = True
    transform: Literal["auto", "linear", "none"] = "auto"
    dropout: float = 0.0


@dataclass(frozen=True)
class ItemCodes:
    """Semantic codes: each item as one code a level, from coarse to fine."""

    values: Tensor  # (num_items, levels) int64, on the host
    sizes: tuple[int, ...]  # how many codes each level has


@dataclass(frozen=True)
class Others:
    """Of each click in a ranking that holds clicks alone: the unclicked candidates of its group, counted."""

    above: np.ndarray  # (R,) those that score higher
    tied: np.ndarray  # (R,) those that score the same
    every: np.ndarray  # (R,) all of them, the same for all rows of a group

    def of(self, rows: np.ndarray) -> Others:
        """Those of some rows, by place or as a mask."""
        return Others(self.above[rows], self.tied[rows], self.every[rows])


@dataclass(frozen=True)
class Ranking:
    """Scored candidates, row by row: the one currency of evaluation. Scores are float32 or float64.

    Columns of a data frame are taken in their order, whatever their labels. Where every item is a candidate,
    rows are clicks alone, ``others`` counts what stands beside them, and ``lists`` may hold the best items.
    """

    group: np.ndarray  # (R,) rows of one group need not stand together
    label: np.ndarray  # (R,) 1 for a click
    score: np.ndarray  # (R,)
    group_by: str = "impression"
    others: Others | None = None
    lists: ItemLists | None = None

    def __post_init__(self) -> None:
        for name in ("group", "label", "score"):
            if not isinstance(given := getattr(self, name), np.ndarray):
                object.__setattr__(self, name, np.asarray(given))
            if not getattr(self, name).ndim:  # what numpy takes for a single value
                said = type(given).__name__
                raise ValueError(f"`{name}` must be one number for each row, in order; got a {said}")
        if not len(self.group) == len(self.label) == len(self.score):
            raise ValueError(
                f"`group`, `label` and `score` must have one row per candidate, got "
                f"{len(self.group)}, {len(self.label)} and {len(self.score)}"
            )
        if self.others is not None and not (self.label == 1).all():
            raise ValueError("a ranking with `others` holds clicks alone; unclicked candidates are counted")

    def of(self, rows: np.ndarray) -> Ranking:
        """Some of the rows, by place or as a mask."""
        group, label, score = self.group[rows], self.label[rows], self.score[rows]
        others = None if self.others is None else self.others.of(rows)
        lists = None if self.lists is None else self.lists.of(group)
        return Ranking(group, label, score, self.group_by, others, lists)


class Turn(NamedTuple):
    """What one turn of a ranking pass has scored in this process."""

    pages: list[tuple[np.ndarray, Tensor]]  # places among the rows of the split, and their scores
    done: int  # impressions that all processes have finished in this turn


@dataclass(frozen=True)
class Term:
    """One part of a loss: a sum over a batch, what it is a sum of, and its weight in the whole."""

    total: Tensor  # scalar, not divided and not weighted
    per: str = "examples"  # the divisor, a key of the objective's ``counts``
    weight: float = 1.0


@dataclass(frozen=True)
class Loss:
    """Terms by name. The loss of a step is the sum over them of ``weight * total / count``.

    Totals and counts are added over all batches and processes of the step before they are divided, so that
    accumulated and parallel batches weigh exactly what they hold.
    """

    terms: Mapping[str, Term]

    @property
    def total(self) -> Tensor:
        """The weighted sum of all terms, where all have one divisor.

        Raises:
            ValueError: they have several.
        """
        found = self.totals()
        if len(found) != 1:
            raise ValueError(f"the terms are divided by {', '.join(found)}; there is no one sum of them")
        return next(iter(found.values()))

    def totals(self) -> dict[str, Tensor]:
        """The weighted sums by divisor; terms with one divisor are added before anything is divided."""
        found: dict[str, Tensor] = {}
        for term in self.terms.values():
            weighted = term.total if term.weight == 1 else term.weight * term.total
            found[term.per] = found[term.per] + weighted if term.per in found else weighted
        return found
