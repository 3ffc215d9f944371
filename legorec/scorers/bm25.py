"""BM25 over the texts of items: scores of the whole corpus, with tokens of our own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.scorers.untrained import last_items

# A letter of a script that writes no spaces is a word of its own; all else is split at what is no letter.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")


def words_of(text: str) -> list[str]:
    """The words of a text, in order, case and width folded; single letters are words too."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class BM25:
    """Scores of a fixed corpus (Robertson and Zaragoza, 2009), as Lucene has them::

        log(1 + (N - n + .5) / (n + .5)) * f / (f + k1 (1 - b + b l / L))

    summed over the words of the query, where ``f`` is how often the word stands in the text, ``n`` in how
    many of the ``N`` texts, ``l`` the words of the text and ``L`` their mean. A word counts as often as the
    query has it; one that no text has counts nothing, so an empty query scores 0 everywhere.

    Args:
        texts: of the corpus; some may be empty.
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        import bm25s
        from scipy.sparse import csc_array

        words = [words_of(text) for text in texts]
        distinct = dict.fromkeys(word for row in words for word in row)
        self.vocabulary = {word: place for place, word in enumerate(distinct)}
        shape = (len(words), len(self.vocabulary))
        if not self.vocabulary:  # which bm25s takes for a mistake
            self._weights = csc_array(shape)
            return
        ids = [[self.vocabulary[word] for word in row] for row in words]
        # Its tokenizer and its search are left out: the one drops single letters and takes a text without
        # spaces for one word, the other refuses an empty query and gives ties to the last row.
        index = bm25s.BM25(method="lucene", k1=k1, b=b, dtype="float64")
        index.index((ids, self.vocabulary), create_empty_token=False, show_progress=False)
        parts = (index.scores["data"], index.scores["indices"], index.scores["indptr"])
        self._weights = csc_array(parts, shape=shape)

    def __len__(self) -> int:
        """Texts of the corpus."""
        return int(self._weights.shape[0])

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """(Q, N) float64 of every text for each query."""
        from scipy.sparse import csr_array

        known = [[self.vocabulary.get(word, -1) for word in words_of(text)] for text in queries]
        known = [[place for place in row if place >= 0] for row in known]
        ends = np.append(0, np.cumsum([len(row) for row in known])).astype(np.int64)
        columns = np.array([word for row in known for word in row], dtype=np.int64)
        asked = csr_array((np.ones(len(columns)), columns, ends), shape=(len(queries), len(self.vocabulary)))
        asked.sum_duplicates()
        return np.asarray((asked @ self._weights.T).toarray())


class BM25Baseline(nn.Module):
    """BM25 of each candidate's text, asked for the text of the item that was clicked last.

    Without a history, every candidate scores 0.

    Args:
        texts: of every item of the store.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.texts, self.index = list(texts), BM25(texts)

    def forward(self, batch: ClickBatch) -> Tensor:
        last = last_items(batch)
        asked, place = np.unique(last, return_inverse=True)
        scores = self.index.scores([self.texts[item] if item >= 0 else "" for item in asked])
        shown_BN = torch.from_numpy(scores[:, batch.items.numpy()][place.reshape(-1)])
        return shown_BN.gather(1, batch.candidates).float()
