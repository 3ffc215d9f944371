"""A language model adapted to the texts of items: masked language modelling and SimCSE (CELA, stage 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.aligning.items import ItemBatch
from legorec.aligning.masking import MaskedBatch
from legorec.batch import Loss, Term
from legorec.lm.whole import WholeModel
from legorec.nn.drawing import entry, examples
from legorec.nn.scales import dense
from legorec.nn.segments import Segments
from legorec.objectives.contrast import info_nce
from legorec.processes import ALONE, Processes


class PretrainedText(nn.Module):
    """A whole language model with a head that tells masked tokens and one for SimCSE.

    Both heads are drawn: a dense layer, GELU and a layer norm before the model's own token embeddings, as
    BERT has it; and a dense layer with tanh on the first token, which is left out once training is over (Gao
    et al., 2021, section 6.3). They are not saved with the model.
    """

    def __init__(self, language: WholeModel) -> None:
        super().__init__()
        self.language = language
        width, token_width = language.output_dim, language.base.token_width
        self.tell = nn.Sequential(dense(width, token_width), nn.GELU(), nn.LayerNorm(token_width))
        self.bias = nn.Parameter(torch.zeros(language.base.vocab_size))
        self.view = nn.Sequential(dense(width, width), nn.Tanh())

    def states(self, tokens_T: Tensor, lengths_B: Tensor) -> Tensor:
        """(T, D) final states; each call draws another dropout."""
        with examples(entry("texts"), len(lengths_B)):
            return self.language(tokens_T, lengths_B)

    def views(self, texts: ItemBatch) -> Tensor:
        """(B, D) what SimCSE compares, from the first token of each text."""
        states_TD = self.states(texts.tokens, texts.lengths)
        return self.view(Segments(texts.lengths).end(states_TD, "first"))

    def token_losses(self, batch: MaskedBatch) -> Tensor:
        """(S,) cross entropy of the tokens at ``batch.places``; the head runs on these alone."""
        states_TD = self.states(batch.masked, batch.texts.lengths)
        told_SE = self.tell(states_TD.index_select(0, batch.places))
        logits_SV = F.linear(told_SE, self.language.token_table, self.bias)
        wanted_S = batch.texts.tokens.index_select(0, batch.places)
        return F.cross_entropy(logits_SV.float(), wanted_S, reduction="none")


class PretrainingObjective:
    """``L_simcse + weight * L_mlm``: a mean over the texts of a step and one over its masked tokens.

    SimCSE is InfoNCE in one direction between two passes through the model that differ in their dropout; the
    other texts of the batch are the negatives.

    Args:
        masked_weight: of masked language modelling.
        temperature: of SimCSE's cosines.
        processes: whose texts are negatives of SimCSE too.
    Relations: two terms with two divisors, so that accumulated batches and shares of processes weigh what
    they hold.
    """

    def __init__(
        self, masked_weight: float = 0.1, temperature: float = 0.05, processes: Processes = ALONE
    ) -> None:
        self.masked_weight, self.temperature, self.processes = masked_weight, temperature, processes

    def counts(self, batch: MaskedBatch) -> Mapping[str, int]:
        """Masked tokens, and texts."""
        return {"masked tokens": len(batch.places), "texts": len(batch.texts.items)}

    def __call__(self, model: nn.Module, batch: MaskedBatch) -> Loss:
        text = cast(PretrainedText, model)
        first_BD, second_BD = text.views(batch.texts), text.views(batch.texts)
        pairs = info_nce(
            first_BD,
            second_BD,
            temperature=self.temperature,
            similarity="cosine",
            direction="a",
            processes=self.processes,
        )
        told = text.token_losses(batch)
        return Loss(
            {
                "simcse": Term(pairs.sum(), per="texts"),
                "mlm": Term(told.sum(), per="masked tokens", weight=self.masked_weight),
            }
        )
