"""How large a model is and what training it takes, from the settings, a config and a store alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.build import build, build_arguments
from legorec.data.clicks import ClickStream
from legorec.engine.optim import trainable
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import mean_rows
from legorec.lm.pretrained import DTYPES, Pretrained
from legorec.processes import ALONE, Processes
from legorec.recipes.assemble import Data, build_model, checkpoint_of, open_data
from legorec.recipes.cache import cached_depths
from legorec.recipes.figures import in_bytes, print_figures
from legorec.recipes.memory import (
    BATCHES,
    StepSize,
    activation_bytes,
    gradient_bytes,
    largest_step,
    optimizer_bytes,
    weight_bytes,
)
from legorec.recommender import Recommender
from legorec.registry import NUM_TENSORS

if TYPE_CHECKING:
    from legorec.settings import Settings


def size(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Print parameters, memory and disk that the settings ask for; returns the figures, all in units of one.

    Nothing is trained and no weight is read: the model is built without memory, so a checkpoint's config and
    tokenizer are enough, and no cache has to be there. There is no run folder.

    Raises:
        ValueError: something the user can mend.
    """
    with processes.agreeing():
        own = figures(settings) if processes.is_first else None
    found = processes.from_first(own)
    if processes.is_first:
        show(settings, found)
    return found


def figures(settings: Settings) -> dict[str, Any]:
    """What ``size`` prints.

    Returns:
        ``parameters``: of each brick and in ``total``, ``all`` that are loaded and those ``trainable``.
        ``language_model``: parameters of the ``whole`` checkpoint without a head, and how many of them are
        ``loaded`` and ``not_loaded``; None without one.
        ``memory``: bytes of ``weights``, ``gradients``, ``optimizer`` and ``states`` (cached ones that an
        accelerator keeps) as they are, and of ``activations`` as ``activation_bytes`` estimates them.
        ``step``: the batch that these are of. ``cache``: tokens and bytes on disk of each depth.
    """
    data = open_data(settings, ["train"])
    with torch.device("meta"):
        model = build_model(settings, data, torch.device("meta"))
        lm = language_model(model.source) if checkpoint_of(settings) is not None else None
    step = training_step(settings, data, model)
    bf16 = settings.exp.policy.precision == "bf16"
    memory = {
        "weights": weight_bytes(model),
        "gradients": gradient_bytes(model),
        "optimizer": optimizer_bytes(model),
        "activations": activation_bytes(model, step, bf16=bf16) + further_rows(model.source, step, bf16),
        "states": resident_bytes(settings, data, model.source),
    }
    bricks = {name: getattr(model, name) for name in NUM_TENSORS if getattr(model, name) is not None}
    return {
        "parameters": {name: count(brick) for name, brick in (bricks | {"total": model}).items()},
        "language_model": lm,
        "memory": memory | {"total": sum(memory.values())},
        "step": vars(step),
        "cache": cache_sizes(settings, data, model.source),
    }


def count(module: nn.Module) -> dict[str, int]:
    """Parameters, and those of them that training changes."""
    return {
        "all": sum(value.numel() for value in module.parameters()),
        "trainable": sum(value.numel() for value in trainable(module).values()),
    }


def language_model(source: Any) -> dict[str, Any]:
    """How much of the checkpoint is loaded; called under ``torch.device("meta")``."""
    pretrained: Pretrained = source.pretrained
    whole = count(pretrained.skeleton())["all"]
    if gives_means(source):  # there are no upper layers
        left_out = whole - (0 if source.lower is None else count(source.lower)["all"])
    else:
        left_out = count(LowerLayers(pretrained, [source.depth]))["all"] if reads_cache(source) else 0
    return {
        "name": pretrained.name,
        "layers": pretrained.num_layers,
        "depth": deepest(source),
        "whole": whole,
        "loaded": whole - left_out,
        "not_loaded": left_out,
    }


def training_step(settings: Settings, data: Data, model: Recommender) -> StepSize:
    """The largest of the first batches of this training."""
    objective: Any = build("objective", settings.model.objective, {})
    stream = ClickStream(
        data.training,
        batch_size=settings.exp.policy.batch_size,
        num_negatives=objective.num_negatives,
        positives_only=objective.positives_only,
        seed=settings.seed,
    )
    lengths = data.catalog.lengths.sum(1)
    if not hasattr(model.source, "catalog") or gives_means(model.source):  # see ``further_rows``
        lengths = torch.ones_like(lengths)
    return largest_step(stream, lengths, settings.exp.policy.item_page_size)


def further_rows(source: Any, step: StepSize, bf16: bool) -> int:
    """Bytes of the rows of an item behind its first one, where it has one a layer.

    ``activation_bytes`` takes each row through every matrix of the item encoder. Of an item's layers, each
    goes through its own, so they count as one row there, and here for what they are.
    """
    if not gives_means(source):
        return 0
    return int(step.tokens * (source.depth - 1) * source.dim * (2 if bf16 else 4))


def cache_sizes(settings: Settings, data: Data, source: Any) -> list[dict[str, int]]:
    """Bytes on disk for each depth of ``exp.cache.layers``, otherwise for the one that the model reads.

    A cache of means goes by the deepest one.
    """
    depths = [deepest(source)] if reads_cache(source) else []
    if settings.exp.cache is not None:
        if checkpoint_of(settings) is None:
            raise ValueError(
                f"`exp.cache` needs a language model, and model.source is '{settings.model.source.name}'"
            )
        depths = [deepest(source)] if gives_means(source) else cached_depths(settings, source.pretrained)
    return [
        {"depth": depth, "tokens": cached_rows(data, source), "bytes": cache_bytes(settings, data, source)}
        for depth in depths
    ]


def cached_rows(data: Data, source: Any) -> int:
    """Rows of a cache: the tokens, or one a layer of each item that has a token."""
    lengths = data.catalog.lengths.sum(1)
    return int((mean_rows(lengths, source.depths) if gives_means(source) else lengths).sum())


def cache_bytes(settings: Settings, data: Data, source: Any) -> int:
    """Of one cache: rows times width times the bytes of a value, and an offset of 8 bytes for each item."""
    stored = DTYPES[build_arguments("source", settings.model.source)["cache_dtype"]]
    values = cached_rows(data, source) * source.pretrained.width
    return values * stored.itemsize + 8 * (data.num_items + 1)


def resident_bytes(settings: Settings, data: Data, source: Any) -> int:
    """Of the cached states that an accelerator keeps; 0 where they are read from disk batch by batch."""
    found = cache_bytes(settings, data, source) if reads_cache(source) else 0
    return found if found <= getattr(source, "memory", 0) else 0


def reads_cache(source: Any) -> bool:
    """Whether the layers below are not loaded, as their states come from a cache."""
    return hasattr(source, "lower") and source.lower is None


def gives_means(source: Any) -> bool:
    """Whether an item is the mean of its tokens in several layers, each as one row."""
    return hasattr(source, "depths")


def deepest(source: Any) -> int:
    """How many layers the states have been through."""
    return int(source.depths[-1] if gives_means(source) else source.depth)


def show(settings: Settings, found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    parameters, lm, memory, step = (
        found[name] for name in ("parameters", "language_model", "memory", "step")
    )
    not_loaded = {name: lm["not_loaded"] for name in ("source", "total")} if lm else {}
    rows = [
        (name, *(f"{number:,}" for number in (*each.values(), not_loaded.get(name, 0))))
        for name, each in parameters.items()
    ]
    caption = ""
    if lm:
        caption = (
            f"{lm['name']}, {lm['layers']} layers, has {lm['whole']:,} parameters without a head; "
            f"{lm['loaded']:,} of them are loaded ({lm['loaded'] / lm['whole']:.1%})"
            + (f", those below layer {lm['depth']} are not" if lm["depth"] < lm["layers"] else "")
            if lm["not_loaded"]
            else f"all {lm['whole']:,} of {lm['name']} are loaded"
        )
    print_figures(
        f"{settings.model.name}: parameters", ("brick", "all", "trainable", "not loaded"), rows, caption
    )
    names = {
        "weights": "weights",
        "gradients": "gradients",
        "optimizer": "AdamW's two moments",
        "activations": "activations (estimate)",
        "states": "cached states kept on an accelerator",
        "total": "total (estimate)",
    }
    page = "a page of them" if settings.exp.policy.item_page_size else "all of them"
    means = settings.model.source.name == "layers"
    tokens = "" if means else f", {step['tokens']:,} tokens in {page}"
    print_figures(
        f"{settings.model.name}: memory in training",
        ("", "bytes", ""),
        [(text, f"{memory[name]:,}", in_bytes(memory[name])) for name, text in names.items()],
        f"a step of {step['examples']} examples with {step['history']} clicks and {step['candidates']} "
        f"candidates: {step['items']:,} distinct items{tokens}; the largest of "
        f"the first {BATCHES} batches",
    )
    if found["cache"]:
        print_figures(
            f"{settings.data.name}: cache on disk",
            ("depth", "rows" if means else "tokens", "bytes", ""),
            [(str(each["depth"]), f"{each['tokens']:,}", f"{each['bytes']:,}", in_bytes(each["bytes"]))
             for each in found["cache"]],
        )  # fmt: skip
