"""The plain baseline: NAML and NRMS, and their training, as libraries for them are usually written.

A Python sample per row through a DataLoader, every slot of history and candidates encoded at padded length,
plain Adam. It is written to be fair: the operations are torch's own, masks are correct, nothing is slowed
down. It shares no code with legorec except for the store that it reads.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from legorec.data.store import Interactions, Store

TITLE_LENGTH = 30
HISTORY_LENGTH = 50


@dataclass(frozen=True)
class PaddedItems:
    """Titles (I + 1, 30) and categories (I + 1,) of all items; item 0, token 0 and category 0 are padding."""

    titles: Tensor
    categories: Tensor
    num_words: int
    num_categories: int

    @classmethod
    def from_store(cls, store: Store, title: str = "title@words", category: str = "category") -> PaddedItems:
        titles = torch.zeros(len(store.items) + 1, TITLE_LENGTH, dtype=torch.int64)
        categories = torch.zeros(len(store.items) + 1, dtype=torch.int64)
        words, kinds = store.items.field(title), store.items.field(category)
        for item in range(len(store.items)):
            tokens = torch.as_tensor(words.rows[item][:TITLE_LENGTH].astype(np.int64))
            titles[item + 1, : len(tokens)] = tokens + 1
            if len(kinds.rows[item]):
                categories[item + 1] = int(kinds.rows[item][0]) + 1
        return cls(titles, categories, words.vocab_size + 1, kinds.vocab_size + 1)


def padded_history(store: Store, span: int) -> tuple[Tensor, Tensor]:
    """The last clicks of a stored history, shifted by one for the padding item, and their mask (50,)."""
    start, stop = store.spans[span]
    clicks = store.histories[max(start, stop - HISTORY_LENGTH) : stop]
    history = torch.zeros(HISTORY_LENGTH, dtype=torch.int64)
    history[: len(clicks)] = torch.from_numpy(clicks.astype(np.int64)) + 1
    return history, history > 0


class TrainingRows(Dataset):
    """One sample per click: the history and 1 + K candidates, all as padded token ids."""

    def __init__(
        self, store: Store, interactions: Interactions, items: PaddedItems, num_negatives: int, seed: int
    ):
        self.store, self.items, self.num_negatives = store, items, num_negatives
        self.random = random.Random(seed)
        self.num_items = len(store.items)
        self.rows: list[tuple[int, int, int, list[int]]] = []  # user, span, clicked item, skipped items
        self.clicked: dict[int, set[int]] = defaultdict(set)
        for row in range(len(interactions.user)):
            user, span = int(interactions.user[row]), int(interactions.span[row])
            low, high = interactions.candidates.offsets[row], interactions.candidates.offsets[row + 1]
            shown = interactions.candidates.values[low:high].tolist()
            labels = interactions.labels[low:high].tolist()
            skipped = [item for item, label in zip(shown, labels, strict=True) if not label]
            self.clicked[user].update(store.histories[slice(*store.spans[span])].tolist())
            for item, label in zip(shown, labels, strict=True):
                if label:
                    self.clicked[user].add(item)
                    self.rows.append((user, span, item, skipped))

    def __len__(self) -> int:
        return len(self.rows)

    def negatives(self, user: int, skipped: list[int]) -> list[int]:
        clicked = self.clicked[user]
        pool = [item for item in skipped if item not in clicked]
        chosen = self.random.sample(pool, min(self.num_negatives, len(pool)))
        while len(chosen) < self.num_negatives:
            item = self.random.randrange(self.num_items)
            if item not in clicked and item not in chosen:
                chosen.append(item)
        return chosen

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        user, span, item, skipped = self.rows[index]
        history, mask = padded_history(self.store, span)
        candidates = torch.tensor([item, *self.negatives(user, skipped)]) + 1
        return {
            "history_title": self.items.titles[history],
            "history_category": self.items.categories[history],
            "history_mask": mask,
            "candidate_title": self.items.titles[candidates],
            "candidate_category": self.items.categories[candidates],
            "label": torch.tensor(0),
        }


class AdditiveAttention(nn.Module):
    def __init__(self, dim: int, hidden: int = 200):
        super().__init__()
        self.linear = nn.Linear(dim, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, D) from values (B, L, D); a fully masked row is zero."""
        logits = self.query(torch.tanh(self.linear(values))).squeeze(-1).masked_fill(~mask, -1e9)
        weights = logits.softmax(-1) * mask
        return torch.bmm(weights.unsqueeze(1), values).squeeze(1)


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int = 8):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        # A row of padding alone would give NaN, so its first place stays visible; the pooling ignores it.
        hidden = ~mask
        hidden[:, 0] &= mask.any(1)
        return self.attention(values, values, values, key_padding_mask=hidden, need_weights=False)[0]


class NAMLItems(nn.Module):
    """Convolution over the title, a linear layer over the category, attention over the two."""

    def __init__(self, items: PaddedItems, dim: int = 64):
        super().__init__()
        self.words = nn.Embedding(items.num_words, dim, padding_idx=0)
        self.categories = nn.Embedding(items.num_categories, dim, padding_idx=0)
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)
        self.linear = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(0.1)
        self.word_attention = AdditiveAttention(dim)
        self.view_attention = AdditiveAttention(dim)

    def forward(self, titles: Tensor, categories: Tensor) -> Tensor:
        words = self.conv(self.words(titles).transpose(1, 2)).transpose(1, 2)
        title = self.word_attention(self.dropout(torch.relu(words)), titles > 0)
        category = torch.relu(self.linear(self.categories(categories)))
        views = torch.stack([title, category], 1)
        return self.view_attention(views, torch.stack([(titles > 0).any(1), categories > 0], 1))


class NRMSItems(nn.Module):
    """Self-attention over title and category as one sequence, then additive attention."""

    def __init__(self, items: PaddedItems, dim: int = 64):
        super().__init__()
        self.words = nn.Embedding(items.num_words, dim, padding_idx=0)
        self.categories = nn.Embedding(items.num_categories, dim, padding_idx=0)
        self.self_attention = SelfAttention(dim)
        self.dropout = nn.Dropout(0.1)
        self.attention = AdditiveAttention(dim)

    def forward(self, titles: Tensor, categories: Tensor) -> Tensor:
        tokens = torch.cat([self.words(titles), self.categories(categories).unsqueeze(1)], 1)
        mask = torch.cat([titles > 0, (categories > 0).unsqueeze(1)], 1)
        return self.attention(self.dropout(self.self_attention(tokens, mask)), mask)


class NRMSUsers(nn.Module):
    def __init__(self, dim: int = 64):
        super().__init__()
        self.self_attention = SelfAttention(dim)
        self.dropout = nn.Dropout(0.1)
        self.attention = AdditiveAttention(dim)

    def forward(self, clicks: Tensor, mask: Tensor) -> Tensor:
        return self.attention(self.dropout(self.self_attention(clicks, mask)), mask)


class PlainModel(nn.Module):
    """Scores (B, 1 + K) of the candidates in a batch of samples."""

    def __init__(self, name: str, items: PaddedItems, dim: int = 64):
        super().__init__()
        self.item_encoder = {"naml": NAMLItems, "nrms": NRMSItems}[name](items, dim)
        self.user_encoder = AdditiveAttention(dim) if name == "naml" else NRMSUsers(dim)

    def encode_slots(self, titles: Tensor, categories: Tensor) -> Tensor:
        batch, slots, length = titles.shape
        vectors = self.item_encoder(titles.view(batch * slots, length), categories.view(batch * slots))
        return vectors.view(batch, slots, -1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        clicks = self.encode_slots(batch["history_title"], batch["history_category"])
        candidates = self.encode_slots(batch["candidate_title"], batch["candidate_category"])
        user = self.user_encoder(clicks, batch["history_mask"])
        return torch.bmm(candidates, user.unsqueeze(2)).squeeze(2)


def training_steps(model: PlainModel, loader: DataLoader, lr: float = 1e-3) -> Iterator[int]:
    """Train over the loader without end; each step gives the number of examples it saw."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), batch["label"])
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(batch["label"])
