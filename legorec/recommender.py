"""Bricks as one model: item ids and histories in, scores out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from legorec.abilities import Prefetches
from legorec.batch import ClickBatch, Clicks, TokenStates
from legorec.item_parts import ItemPart, PartsSource, item_parts, new_states
from legorec.nn.device import module_device
from legorec.nn.drawing import Entry, belonging, entry, examples
from legorec.nn.fused import gather_rows
from legorec.nn.recomputed import nothing, recomputed
from legorec.nn.sending import sent
from legorec.registry import asked, asks_too_much, reads_one_source, reads_whole_batch

if TYPE_CHECKING:
    from legorec.data.catalog import Tokens


def extras_of(brick: nn.Module, kind: str) -> tuple[str, ...]:
    """Names of the offered values that a brick's forward asks for after its tensors, see ``Kind.extras``.

    Raises:
        ValueError: it asks for something that is not offered.
    """
    taken = inspect.signature(brick.forward).parameters.values()
    inputs = {part.name: part.default is part.empty for part in taken}
    if wrong := asks_too_much(kind, type(brick).__name__, inputs):
        raise ValueError(wrong)
    return asked(kind, inputs)


@dataclass(frozen=True)
class Encoded:
    """A batch after its encoders."""

    user: Tensor  # (B, D), (B, M, D) or (B, H, D), what the predictor gets
    clicked: Tensor  # the same before a user plugin, of the clicks alone
    candidates: Tensor  # (B, K, D)
    clicks: Clicks


class Recommender(nn.Module):
    """Encode each distinct item once, encode users from clicked items, score candidates.

    Args:
        source: item rows (N,) -> TokenStates.
        item_encoder: TokenStates -> (N, D).
        user_encoder: clicks (B, H, D), mask (B, H) -> user: (B, D), (B, M, D) or (B, H, D).
        predictor: user, candidates (B, K, D) -> scores (B, K).
        user_plugin: user -> user, joins what else is known of the user; None leaves it out.
        item_page_size: in training, items are encoded so many at a time and once more in the backward pass,
            so that memory grows with the page and not with the batch; 0: all at once. The result is the same.

    Raises:
        ValueError: a brick asks for more than its kind is offered, or the user encoder reads token states
            where items have several parts, or ``item_page_size`` is set, since they are kept whole.
    """

    def __init__(
        self,
        source: nn.Module,
        item_encoder: nn.Module,
        user_encoder: nn.Module,
        predictor: nn.Module,
        user_plugin: nn.Module | None = None,
        item_page_size: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.item_encoder = item_encoder
        self.user_encoder = user_encoder
        self.user_plugin = user_plugin
        self.predictor = predictor
        self.item_page_size = item_page_size
        self._user_extras = extras_of(user_encoder, "user_encoder")
        self._plugin_extras = extras_of(user_plugin, "user_plugin") if user_plugin is not None else ()
        self._predictor_extras = extras_of(predictor, "predictor")
        if wrong := reads_whole_batch(type(user_encoder).__name__, self._user_extras, item_page_size):
            raise ValueError(f"`item_page_size` {wrong}")
        wrong = reads_one_source(type(user_encoder).__name__, self._user_extras)
        if wrong and isinstance(source, PartsSource):
            raise ValueError(wrong)

    @property
    def item_parts(self) -> tuple[ItemPart, ...]:
        """Each source of the items with its item encoder; one where there is no join."""
        return item_parts(self.source, self.item_encoder)

    @property
    def reads_states(self) -> bool:
        """Whether the user encoder looks at the tokens of the clicked items."""
        return "states" in self._user_extras

    @property
    def reads_history(self) -> bool:
        """Whether the predictor looks at anything of a user but the user encoder's result."""
        return bool(set(self._predictor_extras) - {"candidate_items", "candidate_mask"})

    @property
    def scores_by_product(self) -> bool:
        """Whether a score is the inner product of a user vector and an item vector."""
        for each in type(self.predictor).__mro__:
            if "is_inner_product" in vars(each):
                return bool(vars(each)["is_inner_product"])
            if "forward" in vars(each):  # a subclass that scores in another way
                return False
        return False

    @property
    def reads_candidates(self) -> bool:
        """Whether the predictor looks at more of the candidates than their vectors."""
        return bool({"candidate_items", "candidate_mask"} & set(self._predictor_extras))

    @property
    def reads_rows(self) -> bool:
        """Whether a brick looks up clicked or shown items by their rows in the catalogue."""
        by_row = {"click_items", "candidate_items", "states"}
        return bool(by_row & {*self._user_extras, *self._predictor_extras})

    @property
    def reads_user(self) -> bool:
        """Whether a brick looks at who the user is."""
        return "user" in {*self._user_extras, *self._plugin_extras}

    def encode_items(self, items: Tensor) -> Tensor:
        """Vectors (N, D) of catalogue rows (N,); ``items`` is best left on the host."""
        pages = items.split(self.item_page_size) if self.item_page_size else (items,)
        at = entry("items")
        if len(pages) < 2 or not torch.is_grad_enabled():
            return self._encode_page(items, at)
        device = module_device(self)
        vectors = []
        # Forward from the first page to the last, then, in the backward pass, from the last to the first.
        for place, page in enumerate(pages):
            if place + 1 < len(pages):
                self.prefetch(pages[place + 1])
            before = partial(self.prefetch, pages[place - 1]) if place else nothing
            vectors.append(recomputed(partial(self._encode_page, at=at), page, device, before))
        self.prefetch(pages[-1])
        return torch.cat(vectors)

    def _encode_page(self, items: Tensor, at: Entry | None) -> Tensor:
        with belonging(at, items):
            return self.item_encoder(self.source(items))

    def encode_new_items(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """Vectors (N, D) of items that are in no store.

        Args:
            tokens: of each of ``item_parts`` whose source embeds new items, by name.
        """
        return self.item_encoder(new_states(self.source, tokens))

    def prefetch(self, items: Tensor) -> None:
        """Let the source begin to fetch what it needs of ``items``, which will be asked for next."""
        if isinstance(self.source, Prefetches):
            self.source.prefetch(items[: self.item_page_size] if self.item_page_size else items)

    def states_of(self, items: Tensor, mask: Tensor) -> TokenStates | None:
        """Token states of clicks, where the user encoder reads them: each distinct item's once, then copied.

        Args:
            items: (B, H) catalogue rows on the host, and their ``mask``, there too.
        """
        if not self.reads_states:
            return None
        distinct, place = torch.unique(items[mask], return_inverse=True)
        positions = torch.full(items.shape, -1, dtype=torch.int64)
        positions[mask] = place
        return self.source(distinct).take(positions.flatten())

    def clicks_of(self, history: Tensor, mask: Tensor, user: Tensor, vectors: Tensor) -> Clicks:
        """The clicks of some users, from their histories.

        Args:
            history: (B, H) catalogue rows on the host, oldest first, and their ``mask``, there too.
            user: (B,) rows of the user table, -1 for a user that is not in it.
            vectors: (B, H, D) of the clicked items, where the model is.
        """
        mask_BH, items_BH, user_B = sent(vectors.device, mask, history, user)
        return Clicks(vectors, mask_BH, items_BH, user_B, self.states_of(history, mask))

    def beside_candidate(self, user: Tensor, clicks: Clicks) -> int:
        """How many vectors a predictor holds beside each candidate: clicks if it reads them, or interests."""
        length = clicks.mask.shape[1] if self.reads_history else 1
        return max(length, user.shape[1] if user.dim() > 2 else 1)

    def encode_users(self, clicks: Clicks) -> Tensor:
        """User vectors (B, D), interests (B, M, D) or clicks (B, H, D), as the user encoder gives them."""
        return self._plugged(self._clicked(clicks), clicks)

    def _clicked(self, clicks: Clicks) -> Tensor:
        offered = {"user": clicks.user, "click_items": clicks.items, "states": clicks.states}
        given = {name: offered[name] for name in self._user_extras}
        with examples(entry("users"), clicks.mask.shape[0]):
            return self.user_encoder(clicks.vectors, clicks.mask, **given)

    def _plugged(self, user: Tensor, clicks: Clicks) -> Tensor:
        if self.user_plugin is None:
            return user
        offered = {"user": clicks.user}
        with examples(entry("plugin"), user.shape[0]):
            return self.user_plugin(user, **{name: offered[name] for name in self._plugin_extras})

    def score(
        self,
        user: Tensor,
        candidates_BKD: Tensor,
        clicks: Clicks | None = None,
        items: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Scores (B, K), float32 at least, whatever the precision of the encoders.

        Args:
            user: what ``encode_users`` gives.
            clicks: may be left out unless ``reads_history``.
            items: (B, K) catalogue rows of the candidates, and their ``mask``.
        """
        offered = {"candidate_items": items, "candidate_mask": mask}
        if clicks is not None:
            offered |= {"clicks": clicks.vectors, "mask": clicks.mask, "click_items": clicks.items}
            if "click_weights" in self._predictor_extras:
                offered["click_weights"] = self.user_encoder.click_weights(clicks.vectors, clicks.mask)  # type: ignore[operator]
        given = {name: offered[name] for name in self._predictor_extras}
        with examples(entry("scores"), user.shape[0]):
            scores = self.predictor(user, candidates_BKD, **given)
        return _float32_at_least(scores)

    def score_all(self, user_UD: Tensor, items_ND: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores (U, N) of the same items for every user, as of ``score``, where it ``scores_by_product``.

        Args:
            out: what is written to, and returned; where no gradient is asked for.
        """
        if out is None:
            return _float32_at_least(user_UD @ items_ND.T)
        if user_UD.dtype == items_ND.dtype == out.dtype:
            return torch.mm(user_UD, items_ND.T, out=out)
        return out.copy_(user_UD @ items_ND.T)

    def encode(self, batch: ClickBatch, item_table: Tensor | None = None) -> Encoded:
        """Users and candidates of a batch.

        Args:
            item_table: (num_items, D), vectors of every catalogue row, when they are at hand; otherwise the
                batch's distinct items are encoded.
        """
        states = None
        history, mask = batch.history_on_host
        if item_table is not None:
            vectors = item_table.index_select(0, *sent(item_table.device, batch.items))
            states = self.states_of(batch.items[history], mask)
        elif self.reads_states:
            with belonging(entry("items"), batch.items):
                every = self.source(batch.items)
                vectors = self.item_encoder(every)
            states = every.take(history.masked_fill(~mask, -1).flatten())
        else:
            vectors = self.encode_items(batch.items)
        reads_items = "click_items" in {*self._user_extras, *self._predictor_extras}
        clicks = Clicks(
            vectors=gather_rows(vectors, batch.history),
            mask=batch.history_mask,
            items=batch.items_there[batch.history] if reads_items else None,
            user=batch.user,
            states=states,
        )
        clicked = self._clicked(clicks)
        candidates = gather_rows(vectors, batch.candidates)
        return Encoded(self._plugged(clicked, clicks), clicked, candidates, clicks)

    def score_encoded(self, encoded: Encoded, batch: ClickBatch) -> Tensor:
        """Scores (B, K) of a batch that was encoded."""
        items = None
        if "candidate_items" in self._predictor_extras:
            items = batch.items_there[batch.candidates]
        return self.score(encoded.user, encoded.candidates, encoded.clicks, items, batch.candidate_mask)

    def forward(self, batch: ClickBatch, item_table: Tensor | None = None) -> Tensor:
        """Scores (B, K) of a batch's candidates; ``item_table`` as in ``encode``."""
        return self.score_encoded(self.encode(batch, item_table), batch)


def _float32_at_least(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
