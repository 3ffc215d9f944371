"""A causal language model that says answers: packed rows of tokens -> states, likelihoods, scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from legorec.batch import TokenBatch, TokenStates
from legorec.lm.cut import Attention, LowerLayers, Precision
from legorec.lm.head import head_of
from legorec.lm.lora import LoRA
from legorec.lm.model_types import FAMILIES
from legorec.lm.padded_rows import Past
from legorec.lm.pretrained import Pretrained
from legorec.lm.quantized import Bits, quantize
from legorec.lm.shared_prefix import last_states, shared_lengths
from legorec.lm.spread import Part, Spread, spread
from legorec.lm.tuning import TunedLayers
from legorec.lm.untrained import Untrained
from legorec.nn.device import module_device
from legorec.nn.drawing import entry, examples
from legorec.nn.scales import short_vectors
from legorec.nn.sending import sent
from legorec.processes import Processes


class CausalModel(nn.Module):
    """Scores of prompts by the answer that the model would give, and the likelihood of what it is to learn.

    Args:
        answer_ids: the first token of the positive and of the negative answer; None: it says free text, whose
            likelihood is known, and no scores.
        layer: the layers below are frozen and run without gradients; negative: counted from the top.
        lora: adapters on the layers above; with ``enabled: false`` their own weights are tuned.
        dtype: of what is frozen.
        bits: of the frozen linear layers, see ``legorec.lm.quantized``.

    Raises:
        ValueError: the model is not causal, or ``lora`` does not fit it.
    """

    pretrained = True  # so that `item_lr` applies

    def __init__(
        self,
        pretrained: Pretrained,
        answer_ids: tuple[int, int] | None = None,
        *,
        layer: int = 0,
        lora: LoRA = LoRA(),  # noqa: B008 - frozen
        dtype: Precision = "fp32",
        attention: Attention = "auto",
        gradient_checkpointing: bool = False,
        bits: Bits | None = None,
    ) -> None:
        super().__init__()
        if not pretrained.family.causal:
            raise ValueError(f"{pretrained.name} reads in both directions; prompts need a causal model")
        self.base, self.answer_ids = pretrained, answer_ids
        self.depth = pretrained.depth(layer)
        self._spread: Spread | None = None
        self.table: nn.Embedding | None = None
        self.scale: float = 1.0
        self.cap: float | None = None
        if isinstance(pretrained, Untrained):
            self.table = nn.Embedding(pretrained.vocab_size, pretrained.width)
            self.table.weight = short_vectors(pretrained.vocab_size, pretrained.width)
        else:
            self.lower = LowerLayers(pretrained, [self.depth], dtype)
            if bits is not None and self.depth:
                quantize(self.lower.model, self.lower.layers, bits)
            head = head_of(pretrained)
            self.scale, self.cap = head.scale, head.cap
            self.register_buffer(
                "head_VD", head.weight.to(next(self.lower.parameters()).dtype), persistent=False
            )
        self.upper = TunedLayers(
            pretrained,
            self.depth,
            pretrained.width,
            lora,
            dtype=dtype,
            attention=attention,
            gradient_checkpointing=gradient_checkpointing,
            bits=bits,
        )

    def check_training(self) -> None:
        """Refuse what cannot be trained, see ``TunedLayers``."""
        self.upper.check_training()

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters in peft's format; does nothing if there are none."""
        self.upper.save_adapter(folder)

    def spread(self, processes: Processes, device: torch.device) -> None:
        """Leave each process a share of the frozen weights, see ``legorec.lm.spread``; on ``device`` then."""
        self._spread = spread(
            {
                "lower": Part(self.lower.model, self.lower.layers, self.lower.idle),
                "upper": Part(self.upper.upper.model, self.upper.upper.layers, self.upper.upper.idle),
            },
            processes,
            device,
        )

    def finish(self) -> Tensor | None:
        """Take part in what other processes still run, where weights are spread."""
        return None if self._spread is None else self._spread.finish()

    def states(self, batch: TokenBatch) -> Tensor:
        """(T, D) final states of every token, in at least float32."""
        if self.table is not None:
            values_TE = F.embedding(batch.tokens, self.table.weight)
        else:
            values_TE = self.lower(batch.tokens, batch.lengths)[self.depth]
        with examples(entry("prompts"), len(batch.lengths)):
            return self.upper(TokenStates(values_TE, batch.lengths[:, None]))

    def padded(self, ids_T: Tensor, lengths: np.ndarray, past: Past) -> Tensor:
        """(T, D) final states of packed rows that are run as one padded batch, after others."""
        if self.table is not None:
            values_TE = F.embedding(ids_T, self.table.weight)
        else:
            values_TE = self.lower.padded(ids_T, lengths, past=past)[self.depth]
        return self.upper.padded(values_TE, lengths, past)

    @property
    def longest_shared(self) -> int:
        """Tokens of the longest row that ``score_lists`` can begin once for a whole list; 0: of none."""
        named = self.base.config.model_type in FAMILIES
        if not (named and self.base.family.shares_prefixes):
            return 0
        upper = self.upper.upper.longest_kept
        return upper if self.table is not None else min(upper, self.lower.longest_kept)

    def reads_whole(self, longest: int) -> list[str]:
        """A line for the log where prompts of so many tokens are read whole, each for itself; empty: none."""
        if longest <= self.longest_shared:
            return []
        why = f"of more than {self.longest_shared} tokens " if self.longest_shared else ""
        return [
            f"prompts {why}are read whole, not once up to where candidates part: {self.base.name} "
            + ("has a window there" if self.longest_shared else "hands on more than keys, or its attention "
               "makes its own mask (`attention: auto` or `sdpa` do not)")
        ]  # fmt: skip

    def logits(self, states_SD: Tensor, ids: list[int] | None = None) -> Tensor:
        """(S, V) logits of every token, or of some alone, in float32."""
        weight_VD = self.get_buffer("head_VD") if self.table is None else self.table.weight
        if ids is not None:
            (chosen,) = sent(weight_VD.device, torch.tensor(ids))
            weight_VD = weight_VD.index_select(0, chosen).float()
        with torch.autocast(states_SD.device.type, enabled=False):
            out_SV = (states_SD.to(weight_VD.dtype) @ weight_VD.T).float()
        out_SV = out_SV if self.scale == 1.0 else out_SV * self.scale
        return out_SV if self.cap is None else torch.tanh(out_SV / self.cap) * self.cap

    def negative_log_likelihood(self, batch: TokenBatch, states_TD: Tensor | None = None) -> Tensor:
        """(S,) of the tokens at ``batch.learned``, given those before it; the head runs on these alone.

        Args:
            states_TD: of the batch, where they are known.
        """
        states_TD = self.states(batch) if states_TD is None else states_TD
        before_SD = states_TD.index_select(0, batch.learned - 1)
        wanted_S = batch.tokens.index_select(0, batch.learned)
        return F.cross_entropy(self.logits(before_SD), wanted_S, reduction="none")

    def forward(self, batch: TokenBatch) -> Tensor:
        """(B,) log-odds of the positive against the negative answer after each row, in float32.

        Their sigmoid is P(yes) / (P(yes) + P(no)) (TALLRec; Bao et al., 2023): two rows of the head suffice.
        """
        assert self.answer_ids is not None, "it is asked for free text"
        states_TD = self.states(batch)
        (ends,) = sent(states_TD.device, batch.ends)
        return self.log_odds(states_TD.index_select(0, ends))

    def log_odds(self, states_BD: Tensor) -> Tensor:
        """(B,) from the states at which the answer is given."""
        assert self.answer_ids is not None, "there are no answers to score"
        yes_no_B2 = self.logits(states_BD, list(self.answer_ids))
        return yes_no_B2[:, 0] - yes_no_B2[:, 1]

    def score_lists(self, batch: TokenBatch, lists: np.ndarray) -> Tensor:
        """``forward`` in evaluation mode, where what the rows of one list begin with is read once.

        Args:
            batch: on the host.
            lists: (B,) the list of each row, such as the impression; rows of one list stand together.
        """
        assert not self.training
        device, lengths = module_device(self), batch.lengths.numpy()
        tokens = batch.tokens.numpy()
        shared = shared_lengths(tokens, lengths, lists, device.type)
        shared[lengths > self.longest_shared] = 0  # a list may be read in both ways
        whole, parts = np.flatnonzero(shared == 0), np.flatnonzero(shared)
        scores = torch.zeros(len(lengths), device=device)
        if len(whole):
            (places,) = sent(device, whole)
            scores.index_copy_(0, places, self(batch.take(whole).to(device)))
        if len(parts):
            some = batch.take(parts)
            args = (some.tokens.numpy(), some.lengths.numpy(), lists[parts], shared[parts])
            (places,) = sent(device, parts)
            scores.index_copy_(0, places, self.log_odds(last_states(self, *args, device)))
        return scores
