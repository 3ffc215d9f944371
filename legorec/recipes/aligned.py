"""The task of a language model whose texts are aligned to the fields of a trained click model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from legorec.aligning.alignment import AlignedText, AlignmentObjective
from legorec.aligning.items import held_out
from legorec.data.vectors import Rows, save_table
from legorec.engine.task import Learning, Task
from legorec.files.digest import digest_bytes
from legorec.item_parts import PartsSource, item_parts
from legorec.lm.pretrained import find_pretrained
from legorec.lm.tables import item_vectors
from legorec.lm.whole import WholeModel
from legorec.processes import ALONE, Processes
from legorec.recipes.adapted import LANGUAGE_MODEL, item_stream
from legorec.recipes.inputs.item_texts import ItemTexts, made_with, open_texts, text_digests
from legorec.recipes.load import load
from legorec.recipes.trained_recommender import TrainedRecommender
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.aligned import AlignedSettings

TABLE = "items.safetensors"  # of a run: the vector of every item
PAGE = 4096  # items whose fields are read at a time


def aligned(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``aligned`` (CELA, stage 2).

    Its run holds the language model as a checkpoint, and a table with its vector of every item, which stage 3
    reads in place of the language model.

    Raises:
        ValueError: something the user can mend in the settings, the store, the checkpoint or the click model.
    """
    chosen = cast("AlignedSettings", settings.model)
    language = chosen.language_model
    texts = open_texts(settings, language.checkpoint, ["train"])
    fields = frozen_fields(load(chosen.fields_of, "cpu"), texts)
    torch.manual_seed(settings.seed)
    whole = WholeModel(texts.pretrained, language.frozen_layers, language.attention)
    model = AlignedText(whole, fields, chosen.projects_fields)
    items = learned_items(chosen, texts)
    learned, judged = held_out(items, chosen.held_out, settings.seed)
    stream = partial(item_stream, settings, texts, processes)
    weights = popularity_weights(texts, learned) if chosen.weighting == "popularity" else None

    return Task(
        model=model.to(device),
        learning=lambda: Learning(
            objective=AlignmentObjective(chosen.loss, chosen.temperature, weights, processes),
            stream=stream(learned, epoch_batch=settings.exp.policy.epoch_batch),
            inputs=text_digests(settings, texts) | {"fields": digest_bytes(fields.numpy().tobytes())},
            dev_stream=lambda: stream(judged),
        ),
        place=str(texts.data.store.path),
        said=[
            f"texts of {len(learned):,} items to {fields.shape[1]} numbers of their fields, "
            f"{len(judged):,} more are held out"
        ],
        finish=partial(save_aligned, whole, texts, device),
    )


def frozen_fields(run: TrainedRecommender, texts: ItemTexts) -> Tensor:
    """(N, X) the learned vectors of every item's fields, end to end; the id is one of them.

    A field that an item lacks is zero, and so is the id of an item that training never saw.

    Raises:
        ValueError: the run was trained on other items.
    """
    if Rows.of_items(run.data.store) != Rows.of_items(texts.data.store):
        raise ValueError(
            f"`model.fields_of` was trained on the items of {run.data.store.path}, the texts are those of "
            f"{texts.data.store.path}; both must be of one store"
        )
    model, pages = run.model, torch.arange(run.data.num_items).split(PAGE)
    with torch.no_grad():
        return torch.cat([field_vectors(model, items) for items in pages])


def field_vectors(model: Recommender, items: Tensor) -> Tensor:
    """(N, X) ``frozen_fields`` of some items, rows of the catalogue on the host."""
    found = []
    for each in item_parts(model.source, model.item_encoder):
        states = each.source(items)
        count, fields = states.lengths.shape
        means = states.by_field.mean(states.values).view(count, fields * states.values.shape[1])
        if isinstance(model.source, PartsSource) and each.name in model.source.learning:
            assert model.source.seen is not None
            means = means * model.source.seen[items].unsqueeze(1)
        found.append(means)
    return torch.cat(found, 1)


def learned_items(chosen: AlignedSettings, texts: ItemTexts) -> np.ndarray:
    """Rows of the items with a text that training saw, or of the share of them with most clicks."""
    clicks = texts.data.training.known.counts()[texts.readable]
    items = texts.readable[clicks > 0]
    if chosen.hottest is not None:
        order = np.argsort(-clicks[clicks > 0], kind="stable")
        items = items[order[: max(2, round(chosen.hottest * len(items)))]]
    return np.sort(items)


def popularity_weights(texts: ItemTexts, items: np.ndarray) -> Tensor:
    """(N,) log(1 + clicks in training) of every item, over its mean among ``items``."""
    weights = np.log1p(texts.data.training.known.counts()).astype(np.float32)
    return torch.from_numpy(weights / weights[items].mean())


def save_aligned(whole: WholeModel, texts: ItemTexts, device: torch.device, folder: Path) -> None:
    """Write the language model, then the table of its vectors, which are made from what was written."""
    whole.save(folder / LANGUAGE_MODEL, made_with(texts))
    written = find_pretrained(str(folder / LANGUAGE_MODEL))
    vectors = item_vectors(written, texts.rows, texts.encoding.pool, device=device)
    record = texts.encoding.record(written, texts.rows)
    save_table(folder / TABLE, vectors, Rows.of_items(texts.data.store), record)
