"""The untrained scorers that ``exp.baselines`` names, as far as the data has what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from legorec.abilities import GivesUntrained
from legorec.data.catalog import Catalog
from legorec.data.tf_idf import tf_idf
from legorec.engine.rank import Scorer
from legorec.recipes.inputs.candidates import measured_scorer, needed_impressions
from legorec.recipes.inputs.given_vectors import read_tables
from legorec.scorers.bm25 import BM25Baseline
from legorec.scorers.clicks import ClickScorer, needed_items
from legorec.scorers.corpus_scores import BatchScores
from legorec.scorers.cosine import CosineBaseline, TfIdfBaseline
from legorec.scorers.item_knn import ItemKNNBaseline
from legorec.scorers.untrained import (
    ItemMeanBaseline,
    LikesRatioBaseline,
    MostRecentBaseline,
    PopularityBaseline,
    RandomBaseline,
    RepeatLastBaseline,
)
from legorec.template import Slot, parse_template

if TYPE_CHECKING:
    from legorec.batch import TokenVectors
    from legorec.data.evaluation import Impressions
    from legorec.recipes.inputs.store_data import Data
    from legorec.recommender import Recommender
    from legorec.settings import Settings

OF_TRAINING = ("popularity", "most_recent", "item_knn", "item_mean")  # those that count training clicks
ITEMS = "items"  # the table of `embed.tables` with a row an item
LIKED = "liked"  # the mark of a click
PAGE = 1024  # items whose tokens are averaged at a time

Make = Callable[["Impressions"], nn.Module]


def untrained_scorers(
    data: Data, split: str, settings: Settings, model: Recommender | None = None
) -> dict[str, Scorer]:
    """A scorer for each row that the baselines have in the table of a split."""
    place = data.place(split)
    found: dict[str, Scorer] = {}
    for name, make in made_of(data, settings, model).items():
        baseline = make(needed_impressions(data, split, settings))
        found[name] = measured_scorer(
            data,
            split,
            settings,
            baseline,
            partial(ClickScorer, baseline, place=place),
            partial(BatchScores, baseline),
        )
    return found


def made_of(data: Data, settings: Settings, model: Recommender | None = None) -> dict[str, Make]:
    """How each baseline is made, by its name in the table; those that lack something are left out."""
    every: dict[str, Callable[[], dict[str, Make]]] = {
        "random": lambda: {"random": lambda _: RandomBaseline(settings.seed)},
        "popularity": lambda: {"popularity": lambda _: PopularityBaseline(data.training)},
        "most_recent": lambda: (
            {"most_recent": lambda _: MostRecentBaseline(data.training)} if has_times(data) else {}
        ),
        "cosine": lambda: cosines(data, settings, model),
        "item_knn": lambda: {"item_knn": lambda _: ItemKNNBaseline(data.training)},
        "likes_ratio": lambda: likes_ratio(data),
        "item_mean": lambda: {"item_mean": lambda _: ItemMeanBaseline(data.training)},
        "repeat_last": lambda: {"repeat_last": lambda _: RepeatLastBaseline()},
        "bm25_last": lambda: bm25_last(data),
    }
    found: dict[str, Make] = {}
    for name in settings.exp.baselines:
        found |= every[name]()
    return found


def left_out(data: Data, settings: Settings, model: Recommender | None = None) -> list[str]:
    """A line for each of ``exp.baselines`` that has no row, and why."""
    lines = []
    if "most_recent" in settings.exp.baselines and not has_times(data):
        lines.append(f"no baseline most_recent: {data.place('train')}, holds no times")
    if "cosine" in settings.exp.baselines and not cosines(data, settings, model):
        lines.append("no baseline cosine: `data.fields` names no text, and no vectors are given")
    if "likes_ratio" in settings.exp.baselines and not likes_ratio(data):
        lines.append(f"no baseline likes_ratio: no click of {data.store.path} has the mark '{LIKED}'")
    if "bm25_last" in settings.exp.baselines and not texts_read(data):
        lines.append("no baseline bm25_last: no text of the items is read")
    return lines


def likes_ratio(data: Data) -> dict[str, Make]:
    """The share of likes, where the clicks of the store are marked."""
    marks, names = data.store.marks, data.store.mark_names
    if marks is None or LIKED not in names:
        return {}
    return {"likes_ratio": lambda _: LikesRatioBaseline(data.histories, marks == names.index(LIKED))}


def bm25_last(data: Data) -> dict[str, Make]:
    """BM25 for the text of the last click, over the texts that the model reads, uncut."""
    names = texts_read(data)
    if not names:
        return {}
    columns = [list(data.store.items.text(name)) for name in names]
    texts = [" ".join(parts) for parts in zip(*columns, strict=True)]
    return {"bm25_last": lambda _: BM25Baseline(texts)}


def texts_read(data: Data) -> list[str]:
    """The text fields of the items that a run reads, as fields or in a template."""
    text = data.settings.text
    slots = [] if text is None else [each for each in parse_template(text.template) if isinstance(each, Slot)]
    named = [*data.settings.fields, *(slot.field for slot in slots)]
    found = dict.fromkeys(name.partition("@")[0] for name in named)
    return [name for name in found if name in data.store.items.text_names]


def has_times(data: Data) -> bool:
    """Whether the training impressions of a store have times."""
    return data.interactions("train").time is not None


def cosines(data: Data, settings: Settings, model: Recommender | None = None) -> dict[str, Make]:
    """One cosine for each kind of untrained vectors that there is, named after what it compares.

    ``cosine_tfidf``: the words of the text fields. ``cosine_words``: the mean of the given vectors of these
    words. ``cosine_vectors``: the given vectors of the items. ``cosine_states``: the mean of the states that
    a language model's frozen layers hand to the item encoder.
    """
    found: dict[str, Make] = {}
    catalog = data.catalog
    sources = [part.source for part in model.item_parts] if model is not None else []
    states = next((source for source in sources if isinstance(source, GivesUntrained)), None)
    if any(part.kind == "text" for part in catalog.fields):
        found["cosine_tfidf"] = lambda _: TfIdfBaseline(tf_idf(catalog), sum(catalog.vocabularies.values()))
    if states is not None:
        found["cosine_states"] = lambda shown: CosineBaseline(states_mean(states, shown))
    if len(sources) == 1 and states is not None:
        return found  # `embed` only names the table that the language model has anyway
    owners = {table.owner for table in settings.embed.tables}
    if any(part.kind == "text" and part.table in owners for part in catalog.fields):
        found["cosine_words"] = lambda _: CosineBaseline(
            words_mean(catalog, read_tables(settings.embed, data))
        )
    if ITEMS in owners:
        found["cosine_vectors"] = lambda _: CosineBaseline(
            torch.as_tensor(read_tables(settings.embed, data)[ITEMS].weight)
        )
    return found


def words_mean(catalog: Catalog, tables: Mapping[str, TokenVectors]) -> Tensor:
    """(num_items, E) the mean of the given vectors of each item's text tokens, 0 where it has none.

    Tables of another width than the first one are not read: their vectors cannot be averaged with it.
    """
    wanted = [part.kind == "text" and part.table in tables for part in catalog.fields]
    first = next(part for part, is_wanted in zip(catalog.fields, wanted, strict=True) if is_wanted)
    width = tables[first.table].weight.shape[1]
    pages = []
    for items in torch.arange(catalog.num_items).split(PAGE):
        tokens = catalog.tokens(items)
        field = np.repeat(np.tile(np.arange(len(wanted)), len(items)), tokens.lengths.numpy().reshape(-1))
        item = np.repeat(np.arange(len(items)), tokens.lengths.sum(1).numpy())
        total, count = torch.zeros(len(items), width), torch.zeros(len(items), 1)
        for number, part in enumerate(catalog.fields):
            if not wanted[number] or tables[part.table].weight.shape[1] != width:
                continue
            own = field == number
            rows = tokens.ids.cpu()[own] - catalog.base[part.table]
            place = torch.from_numpy(item[own])
            total.index_add_(0, place, torch.as_tensor(tables[part.table].weight)[rows].float())
            count.index_add_(0, place, torch.ones(len(place), 1))
        pages.append(total / count.clamp(min=1))
    return torch.cat(pages)


def states_mean(source: GivesUntrained, shown: Impressions) -> Tensor:
    """(num_items, E) the untrained vectors of the items that a split needs, 0 for the others."""
    found: Tensor | None = None
    with torch.inference_mode():
        for items in torch.from_numpy(needed_items(shown)).split(PAGE):
            vectors = source.untrained(items).float().cpu()
            if found is None:
                found = torch.zeros(shown.num_items, vectors.shape[1])
            found[items] = vectors
    return torch.zeros(shown.num_items, 1) if found is None else found
