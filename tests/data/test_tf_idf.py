"""TF-IDF beside a loop over the tokens of every item."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.data.tf_idf import tf_idf
from tests.support import small


def test_weights_are_those_of_a_loop_over_text_alone():
    catalog = small.catalog()
    tokens = catalog.tokens(torch.arange(catalog.num_items))
    ids, titles, start = tokens.ids.tolist(), [], 0
    for title, category in tokens.lengths.tolist():
        titles.append(Counter(ids[start : start + title]))
        start += title + category
    having = Counter(token for title in titles for token in title)
    found = tf_idf(catalog)
    for item, title in enumerate(titles):
        raw = {token: count * math.log(len(titles) / having[token]) for token, count in title.items()}
        norm = math.sqrt(sum(value**2 for value in raw.values())) or 1
        own = slice(*found.tokens.offsets[item : item + 2])
        assert found.tokens.values[own].tolist() == sorted(raw), "each token once, no category"
        assert np.allclose(found.weights[own], [raw[token] / norm for token in sorted(raw)])
    assert any(not title for title in titles) and any(max(title.values(), default=0) > 1 for title in titles)


def test_what_every_item_has_weighs_nothing():
    rows = Ragged.from_lists([[0, 1], [0, 2], [0]])
    found = tf_idf(Catalog([CatalogField("text", "text", "words", 3, 2)], [rows]))
    assert found.weights.tolist() == [0, 1, 0, 1, 0]


def test_without_text_there_is_nothing_to_weigh():
    rows = Ragged.from_lists([[0], [1]])
    with pytest.raises(ValueError, match="a field of text is needed, there are kind"):
        tf_idf(Catalog([CatalogField("kind", "category", "kind", 2, 1)], [rows]))
