"""Next-item generation aligned by two contrasts (CALRec; Li et al., 2024; arXiv 2405.02429)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import Loss, Term, TokenBatch
from legorec.lm.token_rows import some_rows
from legorec.lm.two_towers import TwoTowerModel
from legorec.nn.segments import Segments
from legorec.nn.sending import sent
from legorec.objectives.contrast.chunks import in_chunks
from legorec.objectives.contrast.info_nce import Direction, Similarity, info_nce
from legorec.processes import ALONE, Processes


class CALRecObjective:
    """(1 - alpha - beta) L_NIG + alpha L_TT + beta L_UT.

    L_NIG (``language``) is the cross entropy of the target's tokens after the user's. L_TT (``target``) and
    L_UT (``user``) are InfoNCE of the joint pass's vectors, of the target and of the user, with that of the
    target pass. As the paper writes them the target pass is given, and the softmax runs over the vectors of
    the joint pass: ``direction: b``. With ``alpha`` and ``beta`` 0 it is ``TokenObjective``.

    Args:
        per: what L_NIG is a mean over: ``examples``, as the paper has it, or ``tokens``.
        chunk: rows that are encoded at a time, see ``in_chunks``; None: all.
        texts_N: (N,) for each item of the catalogue the number of its text: rows whose target has the same
            text are no negatives of each other. None: those with the same item.
        processes: whose rows are negatives too.
    Raises:
        ValueError: ``alpha`` or ``beta`` is negative, or they leave no weight for L_NIG.
    """

    def __init__(
        self,
        alpha: float = 0.125,
        beta: float = 0.025,
        *,
        temperature: float = 0.5,
        similarity: Similarity = "cosine",
        direction: Direction = "b",
        per: Literal["examples", "tokens"] = "examples",
        chunk: int | None = None,
        texts_N: np.ndarray | None = None,
        processes: Processes = ALONE,
    ) -> None:
        if min(alpha, beta) < 0 or alpha + beta >= 1:
            raise ValueError(
                f"`alpha` and `beta` must be at least 0 and add up to less than 1, got {alpha} and {beta}"
            )
        self.weights: Mapping[str, float] = {"target": alpha, "user": beta}
        self.contrasts = [name for name, weight in self.weights.items() if weight]
        self.temperature, self.similarity, self.direction = temperature, similarity, direction
        self.per, self.chunk, self.texts_N, self.processes = per, chunk, texts_N, processes
        self.meets = bool(self.contrasts) and processes.world > 1

    def counts(self, batch: TokenBatch) -> dict[str, int]:
        """Rows of the batch, and the tokens that they teach if L_NIG is a mean over these."""
        counts = {"examples": len(batch.lengths), "tokens": len(batch.learned)}
        wanted = {self.per, "examples"} if self.contrasts else {self.per}
        return {name: count for name, count in counts.items() if name in wanted}

    def __call__(self, model: nn.Module, batch: TokenBatch) -> Loss:
        model = cast(TwoTowerModel, model)
        if not self.contrasts:
            return Loss({"language": Term(model.negative_log_likelihood(batch).sum(), per=self.per)})
        losses_B1, *vectors = self._encoded(model, batch).split([1, *[model.output_dim] * 3], dim=1)
        user_BD, given_BD, alone_BD = vectors
        terms = {"language": Term(losses_B1.sum(), self.per, 1.0 - sum(self.weights.values()))}
        keys_B = self._keys(batch, alone_BD.device)
        for name in self.contrasts:
            found_B = info_nce(
                user_BD if name == "user" else given_BD,
                alone_BD,
                temperature=self.temperature,
                similarity=self.similarity,
                direction=self.direction,
                keys_B=keys_B,
                processes=self.processes,
            )
            terms[name] = Term(found_B.sum(), weight=self.weights[name])
        return Loss(terms)

    def _encoded(self, model: TwoTowerModel, batch: TokenBatch) -> Tensor:
        """(B, 1 + 3 D): the summed losses, v_U, v_T|U and v_T of each row."""
        count, device = len(batch.lengths), batch.tokens.device
        if not count:  # whoever has no row takes part in the gradients of the others
            return torch.zeros(0, 1 + 3 * model.output_dim, device=device, requires_grad=True)

        def encode(rows: slice) -> Tensor:
            some = some_rows(batch, rows, model.target)
            losses_S, user_BD, given_BD = model.joint(some)
            start, stop = some.spans[model.target].T
            sizes = stop - torch.maximum(start, torch.ones_like(start))
            sums_B1 = Segments(sizes).weighted_sum(losses_S[:, None], torch.ones_like(losses_S))
            return torch.cat([sums_B1, user_BD, given_BD, model.alone(some)], dim=1)

        return in_chunks(encode, count, self.chunk or count, device)

    def _keys(self, batch: TokenBatch, device: torch.device) -> Tensor:
        assert batch.item is not None, "the batch does not say which items its targets are"
        items = batch.item.numpy().astype(np.int64)
        (keys_B,) = sent(device, items if self.texts_N is None else self.texts_N[items])
        return keys_B
