"""Language models of types that no row names, registered with transformers as a laboratory would its own.

``read`` says what a layer is given besides the states below it: nothing, or what makes a cut inexact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class DeckConfig(PreTrainedConfig):
    """A decoder with learned positions; its layers return tuples."""

    model_type = "deck"

    vocab_size: int = 60
    hidden_size: int = 16
    num_hidden_layers: int = 3
    max_position_embeddings: int = 32
    pad_token_id: int = 1
    read: str = ""
    heads: int = 2


class CardConfig(DeckConfig):
    """An encoder whose embeddings are a module, with positions counted from behind the padding token."""

    model_type = "card"


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, names: tuple[str, str, str], causal: bool) -> None:
        super().__init__()
        self.heads, self.names, self.causal = heads, names, causal
        for name in names:
            setattr(self, name, nn.Linear(width, width))

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            getattr(self, name)(states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in self.names
        )
        seen = torch.ones(states.shape[1], states.shape[1], dtype=torch.bool)
        seen = (seen.tril() if self.causal else seen)[None, None]
        if mask is not None:
            seen = seen & mask.bool()[:, None, None, :]
        out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return out.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, names: tuple[str, str, str], causal: bool) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, names, causal)

    def forward(self, states: Tensor, mask: Tensor | None = None, beside: Any = 0.0) -> tuple[Tensor, None]:
        return states + self.attention(self.norm(states), mask) + beside, None


class DeckModel(PreTrainedModel):
    config_class = DeckConfig
    base_model_prefix = "deck"

    def __init__(self, config: DeckConfig) -> None:
        super().__init__(config)
        width, names = config.hidden_size, ("wander_q", "wander_k", "wander_v")
        self.tokens = nn.Embedding(config.vocab_size, width)
        self.places = nn.Embedding(config.max_position_embeddings, width)
        self.cards = nn.ModuleList([Layer(width, config.heads, names, True) for _ in range(3)])
        self.last = nn.LayerNorm(width)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> BaseModelOutput:
        if inputs_embeds is None:
            inputs_embeds = self.tokens(input_ids)
        if self.config.read == "scale":
            inputs_embeds = inputs_embeds * 4.0
        places = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
        states = first = inputs_embeds + self.places(places)
        for number, card in enumerate(self.cards):
            beside = first if self.config.read == "first" and number == 2 else 0.0
            states = card(states, attention_mask, beside)[0]
        return BaseModelOutput(last_hidden_state=self.last(states))


class Begin(nn.Module):
    def __init__(self, config: CardConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, position_ids: Tensor) -> Tensor:
        words = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        return self.norm(words + self.places(position_ids))


class CardModel(PreTrainedModel):
    config_class = CardConfig
    base_model_prefix = "card"

    def __init__(self, config: CardConfig) -> None:
        super().__init__(config)
        self.begin = Begin(config)
        names = ("query", "key", "value")
        stack = nn.ModuleList([Layer(config.hidden_size, config.heads, names, False) for _ in range(3)])
        self.inner = nn.ModuleDict({"stack": stack} if config.read != "no list" else {"0": stack[0]})
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.begin.words

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.begin.words = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        given: Any = input_ids if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            behind = self.config.pad_token_id + 1
            position_ids = torch.arange(given.shape[1], device=given.device).unsqueeze(0) + behind
        states = self.begin(input_ids, inputs_embeds, position_ids)
        mask = None if self.config.read == "padding" else attention_mask
        for layer in self.inner["stack"]:
            states = layer(states, mask)[0]
        return BaseModelOutput(last_hidden_state=states)


def register() -> None:
    """Make both known to transformers' automatic classes; again does no harm."""
    for config, model in ((DeckConfig, DeckModel), (CardConfig, CardModel)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)


def save(folder: Path, model_type: str, **facts: Any) -> Path:
    """A checkpoint with drawn weights."""
    register()
    config = AutoConfig.for_model(model_type, **facts)
    model = {"deck": DeckModel, "card": CardModel}[model_type](config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.2)
    model.save_pretrained(folder)
    return folder
