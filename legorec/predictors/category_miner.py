"""The click prediction of MINER, with clicks weighted by the candidate's category."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.abilities import RowsOf
from legorec.nn.fused import gather_rows
from legorec.nn.interests import join_scores
from legorec.nn.scales import short_vectors
from legorec.nn.sizes import check_positive

if TYPE_CHECKING:
    from legorec.data.catalog import Catalog, CatalogField


class CategoryMINERPredictor(nn.Module):
    """MINER's scores over interests that depend on the candidate's category (Li et al., 2022).

    The category-aware attention weighting: for candidate k, interest m weights click i by
    ``softmax_i(c_m . tanh(W h_i) + category_weight * cos(category of i, category of k))``. Then the scores of
    the interests are joined as in ``miner``.

    Args:
        catalog: the items; their categories are copied and are not part of the state.
        input_dim: width of the item vectors and interests.
        field: the field of the categories; None: the first of kind ``category``, else of ``categories``.
        category_dim: width of the category vectors, which are learned from a random start.
        category_weight: lambda in the paper: how much the category counts; fixed, not learned.
        aggregation: how the scores of the interests are joined.
    Raises:
        ValueError: there is no field of categories, ``field`` is not one, ``category_weight`` is not above 0,
            or ``category_dim`` is below 1.
    The interests themselves (B, K, M, D) are never formed: the user encoder's weights a_mi are multiplied by
    ``e_ik = exp(category_weight * cos)`` and normalised again, so that the score is
    ``sum_i a_mi e_ik (h_i . v_k) / sum_i a_mi e_ik``. The gate of ``weighted`` would need the interests; it
    takes those of the user encoder, which do not depend on categories. Several categories of an item are
    averaged; an item without a category is similar to none (cos = 0). Public reimplementations average the
    similarities over the candidates of an impression, which lets one candidate change the score of another;
    here each has its own.
    """

    takes: ClassVar[tuple[str, ...]] = ("interests",)
    categories: Tensor

    def __init__(
        self,
        catalog: Catalog,
        input_dim: int,
        field: str | None = None,
        category_dim: int = 64,
        category_weight: float = 0.5,
        aggregation: Literal["weighted", "max", "mean"] = "weighted",
    ) -> None:
        super().__init__()
        if category_weight <= 0:
            raise ValueError(
                f"`category_weight` must be above 0 (the predictor `miner` knows no categories), "
                f"got {category_weight}"
            )
        check_positive(category_dim=category_dim)
        chosen = _field_of(catalog, field)
        self.category_weight = category_weight
        self.aggregation = aggregation
        self.register_buffer("categories", _categories(catalog, chosen), persistent=False)
        self._owner = chosen.rows
        self.vectors = short_vectors(chosen.vocab_size, category_dim)
        self.gate = nn.Linear(input_dim, input_dim, bias=False) if aggregation == "weighted" else None

    def row_owners(self) -> dict[str, list[RowsOf]]:
        """A row of ``vectors`` for each category."""
        return {"vectors": [self._owner]}

    def forward(
        self,
        user_BMD: Tensor,
        candidates_BKD: Tensor,
        mask: Tensor,
        clicks: Tensor,
        click_items: Tensor,
        candidate_items: Tensor,
        click_weights: Tensor,
    ) -> Tensor:
        """(B, K); an empty history gives 0."""
        scores_BKM = self._interest_scores(
            candidates_BKD, mask, clicks, click_weights, self._similarity(click_items, candidate_items)
        )
        return join_scores(scores_BKM, self.gate, self.aggregation, user_BMD, candidates_BKD)

    def _interest_scores(
        self,
        candidates_BKD: Tensor,
        mask: Tensor,
        clicks: Tensor,
        click_weights: Tensor,
        similarity_BKH: Tensor,
    ) -> Tensor:
        """(B, K, M)"""
        clicks = clicks.masked_fill(~mask.unsqueeze(2), 0.0)
        weights_BHM = click_weights.masked_fill(~mask.unsqueeze(2), 0.0).to(clicks.dtype)
        raised_BKH = torch.exp(self.category_weight * similarity_BKH).to(clicks.dtype)
        matches_BKH = candidates_BKD @ clicks.transpose(1, 2)
        totals_BKM = raised_BKH @ weights_BHM
        # Without a click both sums are zero; 0 / 1 has a finite gradient.
        totals_BKM = totals_BKM.masked_fill(~mask.any(1)[:, None, None], 1.0)
        return (raised_BKH * matches_BKH) @ weights_BHM / totals_BKM

    def _similarity(self, click_items: Tensor, candidate_items: Tensor) -> Tensor:
        """(B, K, H) cosine of the items' category vectors."""
        clicked_BHC, shown_BKC = self._category_of(click_items), self._category_of(candidate_items)
        return shown_BKC @ clicked_BHC.transpose(1, 2)

    def _category_of(self, items_BL: Tensor) -> Tensor:
        """(B, L, category_dim) the mean of an item's category vectors, scaled to length 1."""
        categories_BLG = self.categories[items_BL]
        there_BLG = categories_BLG >= 0
        vectors_BLGC = gather_rows(self.vectors, categories_BLG.clamp(min=0))
        return F.normalize((vectors_BLGC * there_BLG.unsqueeze(3)).sum(2), dim=2)


def _field_of(catalog: Catalog, name: str | None) -> CatalogField:
    for kind in ("category", "categories"):
        for each in catalog.fields:
            if each.kind == kind and name in (None, each.name):
                return each
    known = ", ".join(f"{each.name} ({each.kind})" for each in catalog.fields)
    if name is None:
        raise ValueError(
            f"the items must have a field of categories, their fields are {known}; add one to `data.fields`, "
            "or use the predictor `miner`"
        )
    raise ValueError(f"`field` must name a field of kind category or categories of {known}, got '{name}'")


def _categories(catalog: Catalog, field: CatalogField) -> Tensor:
    """(num_items, G) the categories of every item, followed by -1."""
    place = catalog.fields.index(field)
    lengths = catalog.lengths.numpy()
    ends = lengths.cumsum().reshape(lengths.shape)
    starts, sizes = (ends - lengths)[:, place, None], lengths[:, place, None]
    slots = np.arange(max(1, int(sizes.max(initial=0))))
    there = slots < sizes
    if catalog.values.is_meta:  # the model is only counted, not run
        return torch.empty(there.shape, dtype=torch.int64, device="meta")
    values = catalog.values.cpu().numpy()[(starts + slots)[there]] - catalog.base[field.table]
    found = np.full(there.shape, -1, dtype=np.int64)
    found[there] = values
    return torch.from_numpy(found)
