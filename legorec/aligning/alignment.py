"""Texts of items aligned to the frozen fields of a click model (CELA, stage 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.aligning.items import ItemBatch
from legorec.batch import Loss, Term
from legorec.lm.whole import WholeModel
from legorec.nn.drawing import entry, examples
from legorec.nn.scales import dense
from legorec.nn.segments import Segments
from legorec.objectives.contrast import info_nce
from legorec.processes import ALONE, Processes

Kind = Literal["info_nce", "mse", "bpr"]


class AlignedText(nn.Module):
    """A whole language model whose texts are brought to given vectors: ``LayerNorm(ReLU(W s))``, where s is
    the state of the first token, and of the last one for a model that reads from left to right.

    Args:
        fields: (N, X) the frozen vectors of every item's fields, end to end; they are no weights.
        projects_fields: learn a projection of them too.
    """

    def __init__(self, language: WholeModel, fields: Tensor, projects_fields: bool = False) -> None:
        super().__init__()
        self.language = language
        width = fields.shape[1]
        self.pool: Literal["first", "last"] = "last" if language.base.family.causal else "first"
        self.project = dense(language.output_dim, width, rectified=True)
        self.norm = nn.LayerNorm(width)
        self.of_fields = dense(width, width) if projects_fields else nn.Identity()
        self.fields: Tensor
        self.register_buffer("fields", fields, persistent=False)

    def texts(self, batch: ItemBatch) -> Tensor:
        """(B, X)"""
        with examples(entry("texts"), len(batch.lengths)):
            states_TD = self.language(batch.tokens, batch.lengths)
        ends_BD = Segments(batch.lengths).end(states_TD, self.pool)
        return self.norm(torch.relu(self.project(ends_BD)))

    def vectors(self, batch: ItemBatch) -> Tensor:
        """(B, X) of the fields of the same items."""
        return self.of_fields(self.fields.index_select(0, batch.items))


class AlignmentObjective:
    """Brings each text to the vector of its item.

    ``info_nce``: in both directions, over inner products; the other items of the batch are the negatives.
    ``mse``: the mean square of the differences. ``bpr``: the text's own vector above each of the others.

    Args:
        temperature: of ``info_nce``.
        weights: (N,) of every item, their mean 1; None: all alike.
        processes: whose texts are negatives of ``info_nce`` too.
    """

    def __init__(
        self,
        kind: Kind = "info_nce",
        temperature: float = 1.0,
        weights: Tensor | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.kind, self.temperature, self.weights, self.processes = kind, temperature, weights, processes

    def counts(self, batch: ItemBatch) -> Mapping[str, int]:
        """Texts."""
        return {"texts": len(batch.items)}

    def __call__(self, model: nn.Module, batch: ItemBatch) -> Loss:
        aligned = cast(AlignedText, model)
        texts_BX, fields_BX = aligned.texts(batch), aligned.vectors(batch)
        losses_B = self._losses(texts_BX.float(), fields_BX.float())
        if self.weights is not None:
            losses_B = losses_B * self.weights.to(losses_B.device).index_select(0, batch.items)
        return Loss({self.kind: Term(losses_B.sum(), per="texts")})

    def _losses(self, texts_BX: Tensor, fields_BX: Tensor) -> Tensor:
        """(B,)"""
        if self.kind == "mse":
            return (texts_BX - fields_BX).square().mean(1)
        if self.kind == "bpr":
            scores_BB = texts_BX @ fields_BX.T
            ahead_BB = F.softplus(scores_BB - scores_BB.diagonal().unsqueeze(1))
            others = ~torch.eye(len(ahead_BB), dtype=torch.bool, device=ahead_BB.device)
            return (ahead_BB * others).sum(1) / max(1, len(ahead_BB) - 1)
        both = info_nce(
            texts_BX,
            fields_BX,
            temperature=self.temperature,
            similarity="dot",
            direction="both",
            processes=self.processes,
        )
        return 2.0 * both  # the paper's sum of the two directions, which is a mean here
