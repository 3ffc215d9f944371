"""Testing in the plain baseline: item and user vectors are cached, then every candidate row is a sample.

Metrics loop over the impressions with scikit-learn.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import ndcg_score, roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.plain import PaddedItems, PlainModel, padded_history
from legorec.data.store import Interactions, Store


class HistoryRows(Dataset):
    """One sample per stored history."""

    def __init__(self, store: Store, spans: list[int]):
        self.store, self.spans = store, spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return padded_history(self.store, self.spans[index])


class TestRows(Dataset):
    """One sample per candidate: its impression, the place of its history's vector, the item, the label."""

    def __init__(self, interactions: Interactions, impressions: list[int], place: dict[int, int]):
        self.rows = []
        for row in impressions:
            low, high = interactions.candidates.offsets[row], interactions.candidates.offsets[row + 1]
            user = place[int(interactions.span[row])]
            for item, label in zip(
                interactions.candidates.values[low:high].tolist(),
                interactions.labels[low:high].tolist(),
                strict=True,
            ):
                self.rows.append((row, user, item + 1, label))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, int, int, int]:
        return self.rows[index]


@torch.no_grad()
def cache_items(model: PlainModel, items: PaddedItems, batch_size: int = 512) -> Tensor:
    """(I + 1, D) vectors of all items."""
    model.eval()
    pages = zip(items.titles.split(batch_size), items.categories.split(batch_size), strict=True)
    return torch.cat([model.item_encoder(titles, categories) for titles, categories in pages])


@torch.no_grad()
def cache_users(
    model: PlainModel, store: Store, spans: list[int], item_vectors: Tensor, batch_size: int = 256
) -> Tensor:
    """(S, D) vectors of some stored histories."""
    model.eval()
    loader = DataLoader(HistoryRows(store, spans), batch_size=batch_size)
    return torch.cat([model.user_encoder(item_vectors[history], mask) for history, mask in loader])


@torch.no_grad()
def score_rows(
    rows: TestRows, item_vectors: Tensor, user_vectors: Tensor, batch_size: int = 256
) -> tuple[list[int], list[int], list[float]]:
    """Impression, label and score of every row."""
    groups, labels, scores = [], [], []
    for group, user, item, label in DataLoader(rows, batch_size=batch_size):
        scores.extend((user_vectors[user] * item_vectors[item]).sum(-1).tolist())
        groups.extend(group.tolist())
        labels.extend(label.tolist())
    return groups, labels, scores


def mrr_score(label: np.ndarray, score: np.ndarray) -> float:
    ranked = np.take(label, np.argsort(score)[::-1])
    return float(np.sum(ranked / (np.arange(len(ranked)) + 1)) / np.sum(ranked))


def mean_metrics(groups: list[int], labels: list[int], scores: list[float]) -> dict[str, float]:
    """MIND's four metrics, impression by impression; one-class impressions are left out."""
    by_group: dict[int, tuple[list[int], list[float]]] = {}
    for group, row_label, row_score in zip(groups, labels, scores, strict=True):
        of_group = by_group.setdefault(group, ([], []))
        of_group[0].append(row_label)
        of_group[1].append(row_score)
    values: dict[str, list[float]] = {"gauc": [], "mrr": [], "ndcg@5": [], "ndcg@10": []}
    for group_labels, group_scores in by_group.values():
        if min(group_labels) == max(group_labels):
            continue
        label, score = np.array(group_labels), np.array(group_scores)
        values["gauc"].append(roc_auc_score(label, score))
        values["mrr"].append(mrr_score(label, score))
        values["ndcg@5"].append(ndcg_score([label], [score], k=5))
        values["ndcg@10"].append(ndcg_score([label], [score], k=10))
    return {name: float(np.mean(each)) for name, each in values.items()}
