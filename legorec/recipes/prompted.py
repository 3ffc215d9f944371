"""The task of prompted language models, which learn to answer for a user and a candidate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from legorec.compose.documents import read_document
from legorec.compose.problems import Problem, SettingsError
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.engine.fit import Objective
from legorec.engine.task import Learning, Task
from legorec.engine.weights import LANGUAGE_MODEL, load_best
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained, find_pretrained
from legorec.lm.untrained import Untrained
from legorec.processes import ALONE, Processes
from legorec.prompts import (
    Prompt,
    PromptStream,
    PromptVocabulary,
)
from legorec.prompts.learning import TokenObjective
from legorec.recipes.inputs.baselines import left_out, untrained_scorers
from legorec.recipes.inputs.candidates import candidates_said, measured_scorer
from legorec.recipes.inputs.made_prompts import make_prompt, prompt_digests, text_of
from legorec.recipes.inputs.starting import start_of
from legorec.recipes.inputs.store_data import Data, opened
from legorec.recipes.outputs.session import settings_file
from legorec.recipes.tower import needed_splits, slicings
from legorec.scorers.response import ResponseScorer
from legorec.scorers.yes_no import YesNoScorer
from legorec.settings.modes import MODES

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.prompted import PromptedSettings


def prompted(settings: Settings, device: torch.device, processes: Processes = ALONE) -> Task:
    """The task of a model with the family ``prompted``.

    Raises:
        ValueError: something the user can mend in the settings, the store or the checkpoint.
    """
    mode, chosen = MODES[settings.exp.mode], layer_of(settings).language_model
    if chosen.checkpoint is None and not mode.learns and settings.exp.load is None:
        raise ValueError(
            "a model from `scratch` has learned nothing yet: name a trained run with `exp.load`, or a "
            "`model.language_model.checkpoint`"
        )
    data, prompt, model = built(settings, device, needed_splits(settings), processes)
    return Task(
        model=model,
        learning=lambda: prompt_learning(settings, data, prompt, processes),
        scorer=lambda split: measured_scorer(
            data,
            split,
            settings,
            model,
            lambda impressions: answer_scorer(model, prompt, impressions, data.place(split), settings),
        ),
        baselines=lambda split: untrained_scorers(data, split, settings),
        slices=lambda split: slicings(data, split, settings),
        place=str(data.store.path),
        said=[
            *data.filtered,
            *candidates_said(data, settings),
            *left_out(data, settings),
            *model.reads_whole(prompt.max_length),
        ],
        zero_shot=chosen.checkpoint is not None,
        load=lambda run: load_prompted(run, model, settings, data, prompt),
        start=lambda run: start_of(load_prompted(run, model, settings, data, prompt)),
    )


def built(
    settings: Settings, device: torch.device, splits: Iterable[str], processes: Processes = ALONE
) -> tuple[Data, Prompt, CausalModel]:
    """The store, the prompt over it and the model, all of which the settings name.

    Raises:
        ValueError: something the user can mend in the settings, the store or the checkpoint.
    """
    data, prompt, pretrained = prompt_of(settings, splits)
    model = build_causal(settings, prompt, pretrained)
    if layer_of(settings).language_model.shard and processes.world > 1:
        model.spread(processes, device)
    return data, prompt, model.to(device)


def prompt_of(settings: Settings, splits: Iterable[str]) -> tuple[Data, Prompt, Pretrained | None]:
    """The store and the prompt over it, and the checkpoint if there is one, whose weights are not read."""
    pretrained = language_model_of(settings)
    data = opened(settings, splits, pretrained)
    vocabulary = PromptVocabulary(text_of(data).tokenizer, grows=pretrained is None)
    return data, make_prompt(layer_of(settings).prompt, data, vocabulary, pretrained), pretrained


def answer_scorer(
    model: CausalModel,
    prompt: Prompt,
    impressions: Impressions,
    place: str,
    settings: Settings,
    marks: np.ndarray | None = None,
) -> YesNoScorer | ResponseScorer:
    """The candidates of some impressions, by one of two answers or by the likelihood of a text."""
    asked = settings.exp.evaluation
    if prompt.response is not None:
        return ResponseScorer(model, prompt, impressions, place, asked.batch_size)
    return YesNoScorer(
        model, prompt, impressions, place, asked.batch_size, asked.fast, asked.token_budget, marks
    )


def layer_of(settings: Settings) -> PromptedSettings:
    """The model layer, which the table of families has checked; others have the same prompt and model."""
    return cast("PromptedSettings", settings.model)


def language_model_of(settings: Settings) -> Pretrained | None:
    """The checkpoint, or None for a model from scratch."""
    checkpoint = layer_of(settings).language_model.checkpoint
    return None if checkpoint is None else find_pretrained(checkpoint)


def build_causal(settings: Settings, prompt: Prompt, pretrained: Pretrained | None) -> CausalModel:
    """The model; what is drawn comes from the seed."""
    lm = layer_of(settings).language_model
    torch.manual_seed(settings.seed)
    lora = LoRA(**lm.lora.model_dump())
    if pretrained is None:
        assert lm.scratch is not None
        sizes = lm.scratch.model_dump()
        pretrained = Untrained(prompt.vocabulary.size, **sizes, max_length=prompt.max_length)
        lora = LoRA(enabled=False)
    return CausalModel(
        pretrained,
        prompt.answer_ids if prompt.answer else None,
        layer=lm.layer,
        lora=lora,
        dtype=lm.dtype,
        attention=lm.attention,
        gradient_checkpointing=lm.gradient_checkpointing,
        bits=lm.bits,
    )


def prompt_learning(
    settings: Settings,
    data: Data,
    prompt: Prompt,
    processes: Processes,
    objective: Objective | None = None,
    clicks_alone: bool = False,
) -> Learning:
    """What the examples of the training split teach.

    Args:
        objective: None: the likelihood of what is to be said.
        clicks_alone: see ``prompt_stream``.
    """
    epoch_batch = settings.exp.policy.epoch_batch
    stream = partial(prompt_stream, settings, prompt=prompt, processes=processes, clicks_alone=clicks_alone)
    return Learning(
        objective=objective or TokenObjective(),
        stream=stream(data.training, epoch_batch=epoch_batch),
        inputs=prompt_digests(settings, data, prompt),
        dev_stream=lambda: stream(data.clicks("dev")),
    )


def prompt_stream(
    settings: Settings,
    clicks: TrainingClicks,
    prompt: Prompt,
    processes: Processes,
    epoch_batch: int = 0,
    clicks_alone: bool = False,
) -> PromptStream:
    """Prompts of some clicks, in the batches of ``exp.policy``.

    Args:
        clicks_alone: clicked candidates alone, without negatives.
    """
    return PromptStream(
        ClickStream(
            clicks,
            batch_size=settings.exp.policy.batch_size,
            num_negatives=0 if clicks_alone else layer_of(settings).num_negatives,
            positives_only=clicks_alone,
            epoch_batch=epoch_batch,
            seed=settings.seed,
            processes=processes,
        ),
        prompt,
    )


def load_prompted(
    run: Path,
    model: nn.Module,
    settings: Settings,
    data: Data,
    prompt: Prompt,
    epoch: int | None = None,
) -> Path:
    """Load the weights of a run's best epoch; returns their checkpoint.

    Args:
        epoch: another one that is kept; ``exp.load_epoch`` if None.

    Raises:
        ValueError: the folder is no trained run, or prompt, model, tokenizer or weights differ.
    """
    problems: list[Problem] = []
    tree = read_document(str(settings_file(run)), problems).tree
    if problems:
        raise SettingsError(problems)
    there, here = tree.get("model", {}), settings.dump()["model"]
    if there.get("family") == here["family"]:  # what came later has its default
        there = type(layer_of(settings)).model_validate(there).model_dump()
    for key in ("family", "prompt"):
        if there.get(key) != here[key]:
            raise ValueError(
                f"{run} was trained with another `model.{key}`; give the model layer that it was trained with"
            )
    now = prompt_digests(settings, data, prompt)
    inputs = {
        name: digest for name, digest in now.items() if name.startswith(("tokenizers/", LANGUAGE_MODEL))
    }
    epoch = settings.exp.load_epoch if epoch is None else epoch
    return load_best(run, model, inputs, str(data.store.path), epoch)
