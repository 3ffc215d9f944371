"""An index of nearest items: candidates without a pass over a large catalogue, scored exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from legorec.data.histories import Histories
from legorec.nn.sending import sent
from legorec.recommender import Recommender
from legorec.scorers.top_items import TopItems, best_of, encoded, top_items

Kind = Literal["hnsw", "ivf"]
KINDS: tuple[Kind, ...] = ("hnsw", "ivf")
NEIGHBOURS = 32  # of each item in the graph of HNSW
BATCH = 256  # users at a time


@dataclass(frozen=True)
class NearestItems:
    """Items by their vectors, found by inner product.

    Args:
        index: of faiss.
        rows: (n,) of the store, of each vector in it, ascending.
        candidates: how many are looked up for a user, beside those that were clicked.
    """

    index: Any
    rows: np.ndarray
    candidates: int

    @classmethod
    def of(cls, table_ND: Tensor, rows: np.ndarray, kind: Kind, candidates: int) -> NearestItems:
        """Build it, of the vectors of some rows.

        Raises:
            ValueError: faiss is not installed.
        """
        try:
            import faiss
        except ImportError as error:
            raise ValueError("an index needs `faiss`: pip install 'legorec[faiss]'") from error
        vectors = np.ascontiguousarray(table_ND.detach().float().cpu().numpy()[rows])
        width, inner = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
        index: Any
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, NEIGHBOURS, inner)
            index.hnsw.efSearch = max(2 * candidates, 64)
        else:
            lists = max(1, int(np.sqrt(len(vectors))))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, inner)
            index.nprobe = max(1, lists // 8)
            index.train(vectors)
        index.add(vectors)
        return cls(index, rows, candidates)

    def best(
        self,
        model: Recommender,
        histories: Histories,
        table_ND: Tensor,
        users: np.ndarray,
        spans: np.ndarray,
        k: int,
        with_clicked: bool = False,
    ) -> TopItems:
        """``top_items`` among the candidates; a user with too few of them is scored against all items."""
        k = min(k, len(self.rows))
        found = TopItems(
            np.zeros((len(users), k), dtype=np.int64), np.zeros((len(users), k), dtype=np.float32)
        )
        short, whole = [np.zeros(0, dtype=np.int64)], histories.whole()
        for start in range(0, len(users), BATCH):
            part = slice(start, start + BATCH)
            vectors_UD, _ = encoded(model, histories, table_ND, users[part], spans[part])
            left_out = None if with_clicked else whole.padded(spans[part])
            scores, rows = self._scored(table_ND, vectors_UD, left_out)
            if scores.shape[1] < k:
                short.append(np.arange(start, start + len(scores)))
                continue
            places, best = best_of(scores, k)
            found.item[part] = np.take_along_axis(rows, places.cpu().numpy(), axis=1)
            found.score[part] = best.cpu().numpy()
            short.append(start + np.flatnonzero(np.isneginf(found.score[part]).any(1)))
        if len(left := np.concatenate(short)):
            exact = top_items(
                model, histories, table_ND, users[left], spans[left], k,
                shown=self.rows, with_clicked=with_clicked, batch_size=BATCH,
            )  # fmt: skip
            found.item[left], found.score[left] = exact
        return found

    def _scored(
        self, table_ND: Tensor, vectors_UD: Tensor, clicked: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[Tensor, np.ndarray]:
        """(U, C) scores of the candidates, -inf where there is none, and their rows, ascending.

        Args:
            clicked: rows (U, H) that are left out, and their mask; None: none are.
        """
        more = 0 if clicked is None else clicked[1].shape[1]
        wanted = min(len(self.rows), self.candidates + more)
        asked = np.ascontiguousarray(vectors_UD.float().cpu().numpy())
        place = np.sort(self.index.search(asked, wanted)[1], axis=1)
        rows = self.rows[np.maximum(place, 0)]
        left_out = place < 0
        if clicked is not None:
            own = np.arange(len(rows))[:, None] * len(table_ND)
            left_out |= np.isin(own + rows, (own + clicked[0])[clicked[1]])
        chosen, hidden = sent(table_ND.device, rows, left_out)
        scores = (table_ND[chosen] @ vectors_UD.unsqueeze(2)).squeeze(2).float()
        return scores.masked_fill(hidden, -torch.inf), rows
