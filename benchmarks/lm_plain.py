"""The baseline for legorec with items as text: models of transformers, used directly.

The lower layers over padded batches, the upper ones forward and backward, and a recommender that encodes
every slot of history and candidates at padded length. No code of legorec runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import AdditiveAttention

LISTS = ("encoder.layer", "layers")  # where BERT and LLaMA keep their layers
ADAPTED = ("query", "value", "q_proj", "v_proj")  # the linear layers that LoRA tunes


class GivenStates(nn.Module):
    """Takes the place of BERT's embeddings when the states are given."""

    def forward(self, inputs_embeds: Tensor, **kwargs: Any) -> Tensor:
        return inputs_embeds


def whole_model(folder: Path, dtype: torch.dtype) -> Any:
    """The base model as loaded by transformers, in evaluation mode."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it reports that the pooler was left out
    bert = AutoConfig.from_pretrained(folder).model_type == "bert"
    more = {"add_pooling_layer": False} if bert else {}
    return AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa", **more).eval()


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The model's list of layers."""
    for path in LISTS:
        try:
            found = model.get_submodule(path)
        except AttributeError:
            continue
        assert isinstance(found, nn.ModuleList)
        return found
    raise ValueError(f"{type(model).__name__} keeps its layers in none of {', '.join(LISTS)}")


def lower_model(folder: Path, depth: int, dtype: torch.dtype) -> Any:
    """The embeddings and the first ``depth`` layers, without gradient or a norm after them."""
    model = whole_model(folder, dtype).requires_grad_(False)
    del layers_of(model)[depth:]
    if hasattr(model, "norm"):
        model.norm = nn.Identity()
    return model


def upper_model(folder: Path, depth: int, dtype: torch.dtype) -> Any:
    """The layers from ``depth`` on, frozen, with the backward pass that LoRA on queries and values needs.

    Gradients reach the outputs of those linear layers, and go no deeper than those of the lowest layer.
    """
    model = whole_model(folder, dtype).requires_grad_(False)
    layers = layers_of(model)
    del layers[:depth]
    if hasattr(model, "embeddings"):
        model.embeddings = GivenStates()
    for name, module in layers[0].named_modules():
        if name.rpartition(".")[2] in ADAPTED:
            module.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
    return model


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of ids (L,) or states (L, E) at the length of the longest, and the mask (R, L)."""
    values = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=values.device)
    return values, torch.arange(values.shape[1], device=values.device) < lengths[:, None]


class EverySlot(nn.Module):
    """NAML over a language model whose items are encoded slot by slot, padded ones included.

    Every slot of history and candidates is a row of its own, as long as the longest item of the catalogue.
    The layers below ``depth`` run without gradient, those above with it, down to the lowest one's queries and
    values.
    """

    def __init__(self, folder: Path, depth: int, dtype: torch.dtype, titles_IL: Tensor, mask_IL: Tensor):
        super().__init__()
        self.lower = lower_model(folder, depth, dtype)
        self.upper = upper_model(folder, depth, dtype)
        self.titles, self.masks = titles_IL, mask_IL  # row 0 is padding
        width = self.upper.config.hidden_size
        self.dense = nn.Linear(width, 64)
        self.pool, self.users = AdditiveAttention(64), AdditiveAttention(64)

    def encode(self, slots: Tensor) -> Tensor:
        """(B, S, 64) of item numbers (B, S), padding included."""
        ids, mask = self.titles[slots.reshape(-1)], self.masks[slots.reshape(-1)]
        seen = mask.clone()
        seen[:, 0] = True  # an empty row still needs something to look at
        with torch.no_grad():
            states = self.lower(input_ids=ids, attention_mask=seen.long()).last_hidden_state
        out = self.upper(inputs_embeds=states, attention_mask=seen.long()).last_hidden_state
        return self.pool(self.dense(out.float()), mask).view(*slots.shape, -1)

    def forward(self, history: Tensor, candidates: Tensor) -> Tensor:
        """Scores (B, K); both are item numbers, 0 where there is none."""
        vectors = self.encode(torch.cat([history, candidates], 1))
        clicks, items = vectors.split([history.shape[1], candidates.shape[1]], 1)
        user = self.users(clicks, history > 0)
        return torch.bmm(items, user.unsqueeze(2)).squeeze(2)


def every_slot_step(
    model: EverySlot, history: Tensor, candidates: Tensor, optimizer: torch.optim.Optimizer
) -> None:
    """One training step; the first candidate is the clicked one."""
    optimizer.zero_grad()
    scores = model(history, candidates)
    F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device)).backward()
    optimizer.step()
