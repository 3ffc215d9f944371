"""A causal language model that says answers: packed rows of tokens -> states, likelihoods, scores."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from legorec.batch import TokenBatch, TokenStates
from legorec.lm.cut import Attention, LowerLayers, Precision
from legorec.lm.head import head_of
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.quantized import Bits, quantize
from legorec.lm.spread import Part, Spread, spread
from legorec.lm.tuning import TunedLayers
from legorec.lm.untrained import Untrained
from legorec.nn.drawing import entry, examples
from legorec.nn.scales import short_vectors
from legorec.nn.sending import sent
from legorec.processes import Processes


class CausalModel(nn.Module):
    """Scores of prompts by the answer that the model would give, and the likelihood of what it is to learn.

    Args:
        answer_ids: the first token of the positive and of the negative answer.
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
        answer_ids: tuple[int, int],
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

    def negative_log_likelihood(self, batch: TokenBatch) -> Tensor:
        """(S,) of the tokens at ``batch.learned``, given those before it; the head runs on these alone."""
        before_SD = self.states(batch).index_select(0, batch.learned - 1)
        wanted_S = batch.tokens.index_select(0, batch.learned)
        return F.cross_entropy(self.logits(before_SD), wanted_S, reduction="none")

    def forward(self, batch: TokenBatch) -> Tensor:
        """(B,) log-odds of the positive against the negative answer after each row, in float32.

        Their sigmoid is P(yes) / (P(yes) + P(no)) (TALLRec; Bao et al., 2023): two rows of the head suffice.
        """
        states_TD = self.states(batch)
        (ends,) = sent(states_TD.device, batch.ends)
        yes_no_B2 = self.logits(states_TD.index_select(0, ends), list(self.answer_ids))
        return yes_no_B2[:, 0] - yes_no_B2[:, 1]
