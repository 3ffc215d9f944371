"""The size of a model and the memory that training takes, from settings, a config and a store alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from legorec.abilities import LanguageSource
from legorec.build import build
from legorec.engine.optim import trainable
from legorec.lm.cache_plan import cached_depths
from legorec.lm.cut import LowerLayers
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import Data, open_data, sources_said
from legorec.recipes.outputs.figures import in_bytes, print_figures
from legorec.recipes.outputs.step_memory import (
    BATCHES,
    StepSize,
    activation_bytes,
    gradient_bytes,
    largest_step,
    optimizer_bytes,
    weight_bytes,
)
from legorec.recipes.run import function_at
from legorec.recipes.tower import click_stream
from legorec.recommender import Recommender
from legorec.registry import KINDS, find
from legorec.settings.brick_places import place_of
from legorec.settings.families import FAMILIES

if TYPE_CHECKING:
    from legorec.settings import Settings


def size(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Print parameters, memory and disk that the settings ask for; returns the figures, all in units of one.

    Nothing is trained and no weight is read: the model is built without memory, so a checkpoint's config and
    tokenizer are enough, and no cache has to be there. There is no run folder.

    Raises:
        ValueError: something the user can mend.
    """
    family = FAMILIES[settings.model.family]
    counted, shown = (function_at(f"{family.size}:{name}") for name in ("figures", "show"))
    with processes.agreeing():
        own = counted(settings) if processes.is_first else None
    found: dict[str, Any] = processes.from_first(own)
    if processes.is_first:
        shown(settings, found)
    return found


def figures(settings: Settings) -> dict[str, Any]:
    """What ``size`` prints of towers.

    Returns:
        ``parameters``: of each brick and in ``total``, ``all`` that are loaded and those ``trainable``.
        ``language_model``: parameters of the ``whole`` checkpoint without a head, how many of them are
        ``loaded`` and ``not_loaded``, and the ``place`` of its source; None without one.
        ``memory``: bytes of ``weights``, ``gradients``, ``optimizer`` and ``states`` (cached ones that an
        accelerator keeps) as they are, and of ``activations`` as ``activation_bytes`` estimates them.
        ``step``: the batch that these are of. ``pooled``: whether an item is one row for each of several
        layers. ``cache``: tokens, or those rows, and bytes on disk of each depth. ``filters``: what
        they keep, a line for each split.
    """
    data = open_data(settings, ["train"])
    with torch.device("meta"):
        model = build_model(settings, data, torch.device("meta"))
        speaking = language_source(model)
        lm = language_model(speaking) if speaking is not None else None
    if lm is not None:
        lm["place"] = next(name for name, brick in bricks_of(model).items() if brick is speaking)
    step = training_step(settings, data, model)
    bf16 = settings.exp.policy.precision == "bf16"
    memory = {
        "weights": weight_bytes(model),
        "gradients": gradient_bytes(model),
        "optimizer": optimizer_bytes(model),
        "activations": activation_bytes(model, step, bf16=bf16) + further_rows(model, step, bf16),
        "states": resident_bytes(data, speaking),
    }
    bricks = bricks_of(model)
    return {
        "parameters": {name: count(brick) for name, brick in (bricks | {"total": model}).items()},
        "language_model": lm,
        "memory": memory | {"total": sum(memory.values())},
        "step": vars(step),
        "pooled": pooled(speaking),
        "cache": cache_sizes(settings, data, speaking),
        "filters": data.filtered,
    }


def language_source(model: Recommender) -> Any:
    """The source of a language model's states, or None."""
    return next((each.source for each in model.item_parts if isinstance(each.source, LanguageSource)), None)


def bricks_of(model: Recommender) -> dict[str, nn.Module]:
    """The bricks of a model by their place in its layer."""
    parts = model.item_parts
    kinds = [name for name, row in KINDS.items() if row.of_part]
    found = {place_of(part.name, kind): getattr(part, kind) for kind in kinds for part in parts}
    rest = {name: brick for name, brick in model.named_children() if name not in kinds}
    return found | ({"join": model.item_encoder.join} if len(parts) > 1 else {}) | rest


def count(module: nn.Module) -> dict[str, int]:
    """Parameters, and those of them that training changes."""
    return {
        "all": sum(value.numel() for value in module.parameters()),
        "trainable": sum(value.numel() for value in trainable(module).values()),
    }


def language_model(source: LanguageSource) -> dict[str, Any]:
    """How much of the checkpoint is loaded; called under ``torch.device("meta")``."""
    pretrained = source.pretrained
    whole = count(pretrained.skeleton())["all"]
    if source.pooled:  # there are no upper layers
        left_out = whole - (0 if source.lower is None else count(source.lower)["all"])
    else:
        left_out = 0 if source.lower is not None else count(LowerLayers(pretrained, [source.depth]))["all"]
    return {
        "name": pretrained.name,
        "layers": pretrained.num_layers,
        "depth": source.deepest,
        "whole": whole,
        "loaded": whole - left_out,
        "not_loaded": left_out,
    }


def training_step(settings: Settings, data: Data, model: Recommender) -> StepSize:
    """The largest of the first batches of this training."""
    objective: Any = build("objective", settings.model.objective, {})
    stream = click_stream(settings, data.training, objective=objective)
    lengths = []
    for part in model.item_parts:
        name = settings.model.item_parts[part.name].source.name
        tokens = data.reading(isinstance(part.source, LanguageSource)).lengths.sum(1)
        one = pooled(part.source) or "catalog" not in find("source", name).offered  # see ``further_rows``
        lengths.append(torch.ones_like(tokens) if one else tokens)
    return largest_step(stream, torch.stack(lengths, 1), settings.exp.policy.item_page_size)


def further_rows(model: Recommender, step: StepSize, bf16: bool) -> int:
    """Bytes of the rows of an item after its first one, where it has one a layer.

    ``activation_bytes`` takes each row through every matrix of the item encoder. Of an item's layers, each
    goes through its own, so they count as one row there, and here for what they are.
    """
    wide, total = 2 if bf16 else 4, 0
    for part, tokens in zip(model.item_parts, step.tokens_of, strict=True):
        source: Any = part.source
        total += tokens * (source.depth - 1) * source.dim * wide if pooled(source) else 0
    return total


def pooled(source: Any) -> bool:
    """Whether an item is one row for each of several layers."""
    return isinstance(source, LanguageSource) and source.pooled


def cache_sizes(settings: Settings, data: Data, source: Any) -> list[dict[str, int]]:
    """Bytes on disk for each depth of ``exp.cache.layers``, otherwise for the one that the model reads.

    A cache of means goes by the deepest one.
    """
    depths = [source.deepest] if reads_cache(source) else []
    if settings.exp.cache is not None:
        if not isinstance(source, LanguageSource):
            raise ValueError(f"`exp.cache` needs a language model, and {sources_said(settings)}")
        asked = settings.exp.cache.layers
        depths = [source.deepest] if source.pooled else cached_depths(asked, source.pretrained)
    return [
        {"depth": depth, "tokens": cached_rows(data, source), "bytes": cache_bytes(data, source)}
        for depth in depths
    ]


def cached_rows(data: Data, source: LanguageSource) -> int:
    """Rows of a cache: the tokens, or one a layer of each item that has a token."""
    return int(source.cached_rows(data.reading(True).lengths.sum(1)).sum())


def cache_bytes(data: Data, source: LanguageSource) -> int:
    """Of one cache: rows times width times the bytes of a value, and an offset of 8 bytes for each item."""
    values = cached_rows(data, source) * source.pretrained.width
    return values * source.bytes_cached + 8 * (data.num_items + 1)


def resident_bytes(data: Data, source: Any) -> int:
    """Of the cached states that an accelerator keeps; 0 where they are read from disk batch by batch."""
    found = cache_bytes(data, source) if reads_cache(source) else 0
    return found if found and found <= source.memory else 0


def reads_cache(source: Any) -> bool:
    """Whether the layers below are not loaded, as their states come from a cache."""
    return isinstance(source, LanguageSource) and source.lower is None


NAMES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "AdamW's two moments",
    "activations": "activations (estimate)",
    "states": "cached states kept on an accelerator",
    "total": "total (estimate)",
}


def memory_rows(memory: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """What takes how many bytes, as rows of a table."""
    return [
        (text, f"{memory[name]:,}", in_bytes(memory[name])) for name, text in NAMES.items() if name in memory
    ]


def show(settings: Settings, found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    for line in found["filters"]:
        print(line)
    parameters, lm, memory, step = (
        found[name] for name in ("parameters", "language_model", "memory", "step")
    )
    not_loaded = {name: lm["not_loaded"] for name in (lm["place"], "total")} if lm else {}
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
    page = "a page of them" if settings.exp.policy.item_page_size else "all of them"
    means = found["pooled"]
    tokens = "" if means else f", {step['tokens']:,} tokens in {page}"
    print_figures(
        f"{settings.model.name}: memory in training",
        ("", "bytes", ""),
        memory_rows(memory),
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
