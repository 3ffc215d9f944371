"""Item encoder from a causal language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.lm.lora import LoRA
from legorec.lm.tuning import TunedLayers
from legorec.nn.attention import AdditiveAttention
from legorec.nn.centred import Centred
from legorec.nn.scales import from_normed

if TYPE_CHECKING:
    from legorec.lm.pretrained import Pretrained


class LlamaItemEncoder(nn.Module):
    """The layers of LLaMA (Mistral, Qwen, OPT, ...) above ``depth``, then one vector per item.

    The open-source half of ONCE, DIRE (Liu et al., 2024, section 3.2): final states, a dense layer to
    ``hidden_dim``, and their mean weighted by additive attention.

    Args:
        input_dim: width of the states. Where it differs from the model's, a learned projection comes first.
        pretrained: the model, and ``depth``: how many of its layers the states have been through.
        hidden_dim: width of the item vectors.
        attention_dim: width of the query that weights the tokens, with ``pooling: attention``.
        pooling: ``attention``, ``mean``, or ``last`` over an item's tokens.
        lora: adapters on these layers; with ``enabled: false`` the layers themselves are tuned.
        frozen: no part of the language model is tuned.
        dtype: of the layers where they are computed, and of their weights if these are frozen; ``fp16``
            cannot be trained.
        attention: its name in transformers; ``auto`` is ``sdpa``, and plain matrix products for short rows on
            the CPU.
        gradient_checkpointing: compute the layers again in the backward pass instead of storing what it
            needs.
        centred: final states are standardised, by what they are before training (``nn.centred``).
    Raises:
        ValueError: the model is bidirectional, or ``lora`` does not fit it.
    Unlike in ``bert``, a token has seen only itself and the tokens before it; only the last has seen the
    whole text.
    """

    reads: ClassVar[tuple[str, ...]] = ("states",)
    places: ClassVar[tuple[str, ...]] = ("lora.adapter",)

    def __init__(
        self,
        input_dim: int,
        pretrained: Pretrained,
        depth: int,
        hidden_dim: int = 64,
        attention_dim: int = 200,
        pooling: Literal["attention", "mean", "last"] = "attention",
        lora: LoRA = LoRA(),  # noqa: B008 - frozen
        frozen: bool = False,
        dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
        attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto",
        gradient_checkpointing: bool = False,
        centred: bool = True,
    ) -> None:
        super().__init__()
        if not pretrained.family.causal:
            raise ValueError(
                f"{pretrained.name} is bidirectional ({pretrained.family.model_type}); use `bert`"
            )
        self.output_dim = hidden_dim
        self.layers = TunedLayers(
            pretrained, depth, input_dim, lora, frozen, dtype, attention, gradient_checkpointing
        )
        self.centring = Centred(self.layers.output_dim) if centred else None
        self.dense = from_normed(self.layers.output_dim, hidden_dim)
        self.pool = AdditiveAttention(hidden_dim, attention_dim) if pooling == "attention" else None
        self.pooling = pooling

    def read(self, states: TokenStates) -> Tensor:
        """(T, E) the final states of the tokens."""
        return self.layers(states)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        rows = states.by_item
        values_TE = self.read(states)
        values_TD = self.dense(values_TE if self.centring is None else self.centring(values_TE))
        if self.pool is not None:
            return self.pool.packed(values_TD, rows)
        return rows.mean(values_TD) if self.pooling == "mean" else rows.end(values_TD, "last")
