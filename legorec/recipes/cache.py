"""Cache the states of the frozen lower layers, or their means, once for every item, at several depths."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from legorec.build import build_arguments
from legorec.engine.log import RunLog
from legorec.engine.progress import bar
from legorec.engine.signals import StopRequest
from legorec.lm.build_cache import build_caches
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import cache_identity, check_text, mean_depths, mean_rows, means_folder
from legorec.lm.pretrained import Pretrained, find_pretrained
from legorec.lm.state_cache import CacheWriter, free_space_check
from legorec.processes import ALONE, Processes
from legorec.recipes.assemble import Data, checkpoint_of, open_data
from legorec.recipes.session import choose_device, tell
from legorec.recipes.token_table import check_token_table

if TYPE_CHECKING:
    from legorec.settings import Settings

SHARD_UNIT = 1 << 20


def cached_depths(settings: Settings, pretrained: Pretrained) -> list[int]:
    """The depths that ``exp.cache.layers`` asks for, shallow ones first.

    Raises:
        ValueError: depth 0, which is the embeddings and is not cached, or one that the model does not have.
    """
    assert settings.exp.cache is not None
    depths = sorted({pretrained.depth(layer) for layer in settings.exp.cache.layers})
    if depths[0] == 0:
        raise ValueError(
            f"`exp.cache.layers` {settings.exp.cache.layers} asks for depth 0 of {pretrained.name}: the "
            "embeddings are computed on the spot and not cached"
        )
    return depths


@dataclass(frozen=True)
class CachePlan:
    """What a cache run computes, and where it goes: one cache a depth, or one of the means at all of them."""

    depths: list[int]
    writers: list[CacheWriter]
    mean: bool


def make_plan(settings: Settings, data: Data, pretrained: Pretrained) -> CachePlan:
    """What the source of the model layer reads; nothing is written yet.

    The source ``states`` reads one depth of those that ``exp.cache.layers`` lists, the source ``layers`` the
    means at the depths that its own ``step`` chooses.

    Raises:
        ValueError: the model layer has no such source with a ``cache`` folder, or is not set for a run from
            the whole model.
    """
    source = settings.model.source
    options = build_arguments("source", source)
    root = options.get("cache")
    if source.name not in ("states", "layers") or root is None:
        raise ValueError(
            "mode cache needs the source `states` with a `cache` folder, or the source `layers` with one; "
            f"model.source is '{source.name}'"
        )
    if source.name == "states":
        _judge_states(options, pretrained)
    check_token_table(settings.embed, pretrained)
    check_text(data.catalog, pretrained)
    assert settings.exp.cache is not None
    mean = source.name == "layers"
    depths = mean_depths(pretrained, options["step"]) if mean else cached_depths(settings, pretrained)
    lengths = data.catalog.lengths.sum(1)
    size = settings.exp.cache.shard_mb * SHARD_UNIT

    def writer(depth: int) -> CacheWriter:
        identity = cache_identity(
            data.catalog,
            pretrained,
            depth,
            stored=options["cache_dtype"],
            computed=options["dtype"],
            attention=options["attention"],
            mean_at=depths if mean else (),
        )
        if mean:
            return CacheWriter(means_folder(root), identity, mean_rows(lengths, depths).numpy(), size)
        return CacheWriter(root, identity, lengths.numpy(), size)

    return CachePlan(depths, [writer(depth) for depth in (depths[-1:] if mean else depths)], mean)


def _judge_states(options: Mapping[str, Any], pretrained: Pretrained) -> None:
    """Refuse settings of the source ``states`` that are not those of a run from the whole model."""
    if options["layer"] != 0:
        raise ValueError(
            f"`layer` is 0 while caching, got {options['layer']}; exp.cache.layers says how deep"
        )
    if options["embed_dim"] not in (None, pretrained.width):
        raise ValueError(
            f"`embed_dim` (--embed_hidden_size) is the width of {pretrained.name} ({pretrained.width}) while "
            f"caching, got {options['embed_dim']}"
        )


def cache(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Write what is missing of the caches; what is whole is not computed again.

    There is no run folder: the caches are the result, and say for themselves what they hold.

    Raises:
        ValueError: something the user can mend.
        OSError: the disk has not the room; told before anything is computed.
        NoMemoryError: there is not the memory for one item.
        Interrupted: the process was asked to stop; the next run goes on with what is left.
    """
    with processes.agreeing():
        device = choose_device(settings.device, processes)
        checkpoint = checkpoint_of(settings)
        if checkpoint is None:
            raise ValueError(
                "mode cache needs a language model, and model.source names no checkpoint: it is "
                f"'{settings.model.source.name}'"
            )
        data, pretrained = open_data(settings), find_pretrained(checkpoint)
        plan = make_plan(settings, data, pretrained)
        writers = plan.writers
        missing = sum(writer.bytes_needed() for writer in writers)
        if missing:
            free_space_check(writers[0].folder.parent, missing)
    log = RunLog(silent=not processes.is_first)
    folders = [str(writer.folder) for writer in writers]
    num_tokens = int(data.catalog.lengths.sum())
    if missing:
        what = "the means of each item" if plan.mean else "states"
        log(
            f"{data.num_items:,} items, {num_tokens:,} tokens, {what} at depth "
            f"{', '.join(map(str, plan.depths))} of {pretrained.num_layers} layers: "
            f"{missing / 1e9:.2f} GB to write to {', '.join(folders)}"
        )
        options = build_arguments("source", settings.model.source)
        lower = LowerLayers(pretrained, plan.depths, options["dtype"], options["attention"]).to(device)
        data.catalog.to(device)
        _build(settings, plan, lower, data, processes, log)
    else:
        for writer in writers:
            writer.finish()
        log(f"nothing to do: the states are in {', '.join(folders)}")
    with processes.agreeing():  # so that none goes on to read what another still writes
        pass
    return {"items": data.num_items, "tokens": num_tokens, "folders": folders}


def _build(
    settings: Settings,
    plan: CachePlan,
    lower: LowerLayers,
    data: Data,
    processes: Processes,
    log: RunLog,
) -> None:
    """Run the lower layers over the items, with a bar and a stop between two batches."""
    assert settings.exp.cache is not None
    todo, done, started = _items_missing(plan.writers) // processes.world, 0, time.monotonic()
    # A wish to stop concerns this process alone: shards are its own, and nobody waits for them.
    with StopRequest(silent=not processes.is_first) as stop, bar("cache", todo) as show:

        def advanced(items: int) -> None:
            nonlocal done
            done += items
            show(min(done, todo), todo)
            stop.check()

        build_caches(
            plan.writers,
            lower,
            data.catalog,
            token_budget=settings.exp.cache.token_budget,
            share=(processes.rank, processes.world),
            advanced=advanced,
            mean=plan.mean,
            say=partial(tell, processes, log),
        )
    seconds = time.monotonic() - started
    log(f"{done:,} items in {seconds:.1f} s, {done / seconds:,.0f} items a second")


def _items_missing(writers: list[CacheWriter]) -> int:
    missing = {index for writer in writers for index in writer.missing()}
    return sum(len(writers[0].shards[index]) for index in missing)
