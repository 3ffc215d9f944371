"""Four bricks as one model: item ids and histories in, scores out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from legorec.batch import ClickBatch
from legorec.nn.fused import gather_rows

# What a brick may name in its forward beyond its tensors, and who can ask for it.
USER_EXTRAS = {"user": "(B,) rows of the user table"}
PREDICTOR_EXTRAS = {"clicks": "(B, H, D) vectors of the history", "mask": "(B, H) True where a click exists"}


def extras_of(brick: nn.Module, num_inputs: int, offered: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the offered values that a brick's forward asks for after its ``num_inputs`` tensors.

    Raises:
        ValueError: it asks for something that is not offered.
    """
    asked = list(inspect.signature(brick.forward).parameters.values())[num_inputs:]
    unknown = [part.name for part in asked if part.name not in offered and part.default is part.empty]
    if unknown:
        raise ValueError(
            f"{type(brick).__name__}.forward asks for {', '.join(unknown)}, which is not there; "
            f"offered are {', '.join(offered)}"
        )
    return tuple(part.name for part in asked if part.name in offered)


class Recommender(nn.Module):
    """Encode each distinct item once, encode users from clicked items, score candidates.

    Args:
        source: item rows (N,) -> TokenStates.
        item_encoder: TokenStates -> (N, D).
        user_encoder: clicks (B, H, D), mask (B, H) -> user, (B, D) or (B, M, D).
        predictor: user, candidates (B, K, D) -> scores (B, K).
        item_page_size: in training, items are encoded so many at a time and once more in the backward pass,
            so that memory grows with the page and not with the batch; 0: all at once. The result is the same.

    Raises:
        ValueError: a brick asks for more than ``USER_EXTRAS`` or ``PREDICTOR_EXTRAS`` offer.
    """

    def __init__(
        self,
        source: nn.Module,
        item_encoder: nn.Module,
        user_encoder: nn.Module,
        predictor: nn.Module,
        item_page_size: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.item_encoder = item_encoder
        self.user_encoder = user_encoder
        self.predictor = predictor
        self.item_page_size = item_page_size
        self._user_extras = extras_of(user_encoder, 2, USER_EXTRAS)
        self._predictor_extras = extras_of(predictor, 2, PREDICTOR_EXTRAS)

    def encode_items(self, items: Tensor) -> Tensor:
        """Vectors (N, D) of catalogue rows (N,); ``items`` is best left on the host."""
        pages = items.split(self.item_page_size) if self.item_page_size else (items,)
        if len(pages) < 2 or not torch.is_grad_enabled():
            return self._encode_page(items)
        vectors = []
        for page, after in zip(pages, [*pages[1:], None], strict=True):
            if after is not None:
                self.prefetch(after)
            vectors.append(checkpoint(self._encode_page, page, use_reentrant=False))
        return torch.cat(vectors)

    def _encode_page(self, items: Tensor) -> Tensor:
        return self.item_encoder(self.source(items))

    def prefetch(self, items: Tensor) -> None:
        """Let the source begin to fetch what it needs of ``items``, which are asked for soon."""
        fetch = getattr(self.source, "prefetch", None)
        if fetch is not None:
            fetch(items[: self.item_page_size] if self.item_page_size else items)

    def encode_users(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor) -> Tensor:
        """User vectors (B, D) or (B, M, D) from the vectors of clicked items, oldest first.

        Args:
            user: (B,) rows of the user table.
        """
        offered = {"user": user}
        return self.user_encoder(clicks_BHD, mask_BH, **{name: offered[name] for name in self._user_extras})

    @property
    def reads_history(self) -> bool:
        """Whether the predictor looks at the clicks or their mask, beyond the user vector."""
        return bool(self._predictor_extras)

    def score(
        self, user: Tensor, candidates_BKD: Tensor, clicks: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Scores (B, K), float32 at least, whatever the precision of the encoders.

        Args:
            user: (B, D) or (B, M, D), what ``encode_users`` gives.
            clicks: (B, H, D) and ``mask`` (B, H); may be left out unless ``reads_history``.
        """
        offered = {"clicks": clicks, "mask": mask}
        extras = {name: offered[name] for name in self._predictor_extras}
        scores = self.predictor(user, candidates_BKD, **extras)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def forward(self, batch: ClickBatch, item_table: Tensor | None = None) -> Tensor:
        """Scores (B, K) of a batch's candidates.

        Args:
            item_table: (num_items, D), vectors of every catalogue row, when they are at hand; otherwise the
                batch's distinct items are encoded.
        """
        if item_table is None:
            items = self.encode_items(batch.items)
        else:
            items = item_table.index_select(0, batch.items.to(item_table.device))
        clicks = gather_rows(items, batch.history)
        user = self.encode_users(clicks, batch.history_mask, batch.user)
        return self.score(user, gather_rows(items, batch.candidates), clicks, batch.history_mask)


def module_device(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU when it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
