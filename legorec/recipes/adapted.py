"""The task of a language model that is adapted to the texts of items."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from legorec.aligning.items import ItemStream, held_out
from legorec.aligning.masking import Masking
from legorec.aligning.pretraining import PretrainedText, PretrainingObjective
from legorec.engine.task import Learning, Task
from legorec.lm.whole import WholeModel
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.item_texts import ItemTexts, made_with, open_texts, text_digests

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.aligned import AdaptedSettings

LANGUAGE_MODEL = "language_model"  # the folder of a run that holds the checkpoint


def adapted(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``adapted`` (CELA, stage 1): its run holds a checkpoint.

    Raises:
        ValueError: something the user can mend in the settings, the store or the checkpoint.
    """
    chosen = cast("AdaptedSettings", settings.model)
    language = chosen.language_model
    texts = open_texts(settings, language.checkpoint)
    masking = Masking(texts.text.tokenizer, chosen.masked, settings.seed)
    torch.manual_seed(settings.seed)
    model = PretrainedText(WholeModel(texts.pretrained, language.frozen_layers, language.attention))
    learned, judged = held_out(texts.readable, chosen.held_out, settings.seed)
    stream = partial(item_stream, settings, texts, processes, made=masking)

    def finish(folder: Path) -> None:
        model.language.save(folder / LANGUAGE_MODEL, made_with(texts))

    return Task(
        model=model.to(device),
        learning=lambda: Learning(
            objective=PretrainingObjective(chosen.masked_weight, chosen.temperature, processes),
            stream=stream(learned, epoch_batch=settings.exp.policy.epoch_batch),
            inputs=text_digests(settings, texts),
            dev_stream=lambda: stream(judged),
        ),
        place=str(texts.data.store.path),
        said=[f"texts of {len(learned):,} items, {len(judged):,} more are held out"],
        finish=finish,
    )


def item_stream(
    settings: Settings,
    texts: ItemTexts,
    processes: Processes,
    items: np.ndarray,
    epoch_batch: int = 0,
    **made: Masking,
) -> ItemStream:
    """Batches of items as large as the settings say.

    Raises:
        ValueError: a process would have no item of the last batch: the losses compare the items of all.
    """
    size = settings.exp.policy.batch_size
    last = len(items) % size or size
    if last < processes.world:
        raise ValueError(
            f"the last batch of {len(items):,} items has {last}, fewer than the {processes.world} processes; "
            "give another `exp.policy.batch_size` (--batch_size)"
        )
    return ItemStream(
        texts.rows,
        items,
        batch_size=size,
        epoch_batch=epoch_batch,
        seed=settings.seed,
        processes=processes,
        **made,
    )
