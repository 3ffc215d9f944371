"""Cache the states of the frozen lower layers, or their means, once for every item, at several depths."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from legorec.build import build_arguments
from legorec.engine.log import RunLog
from legorec.engine.progress import bar, rate_text
from legorec.engine.stopping import StopRequest
from legorec.files.manifest import MANIFEST
from legorec.lm.build_cache import build_caches
from legorec.lm.build_streamed import stream_caches
from legorec.lm.cache_plan import CachePlan
from legorec.lm.free_memory import free_memory
from legorec.lm.state_cache import CacheWriter, free_space_check
from legorec.lm.stream_plan import (
    CacheMemory,
    Streaming,
    cache_memory,
    check_memory,
    choose_streaming,
    gigabytes_up,
)
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.store_data import Data, LanguagePart, language_part, open_data, sources_said
from legorec.recipes.inputs.token_table import check_token_table
from legorec.recipes.outputs.session import tell

if TYPE_CHECKING:
    import torch

    from legorec.settings import Settings

SHARD_UNIT = 1 << 20


def make_plan(settings: Settings, part: LanguagePart, data: Data) -> CachePlan:
    """Plan the caches that a source of the model will read.

    Raises:
        ValueError: it reads no cache, or the model layer is not set for a run from the whole model.
    """
    assert settings.exp.cache is not None and data.language_model is not None
    if len(settings.model.item_parts) == 1:  # else they are of other parts
        check_token_table(settings.embed, data.language_model)
    arguments = build_arguments("source", part.settings)
    layers, catalog = settings.exp.cache.layers, data.catalogs[-1]
    try:
        return part.source.cache_plan(catalog, data.language_model, layers, arguments)
    except ValueError as error:
        raise ValueError(f"mode cache, {part.place} '{part.settings.name}': {error}") from error


def is_cached(settings: Settings) -> bool:
    """Whether every cache that a run would write is complete, and none was altered."""
    assert settings.exp.cache is not None
    part = language_part(settings)
    if part is None:
        return False
    writers = make_plan(settings, part, open_data(settings)).writers(settings.exp.cache.shard_mb * SHARD_UNIT)
    return not any(writer.missing() or not (writer.folder / MANIFEST).is_file() for writer in writers)


def cache(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Write the missing parts of the caches; complete shards are not computed again.

    There is no run folder: the caches are the result, and say for themselves what they hold.

    Raises:
        ValueError: something the user can mend.
        OSError: the disk is too small; checked before anything is computed.
        NoMemoryError: there is not the memory for one item.
        Interrupted: the process was asked to stop; the next run goes on with what is left.
    """
    assert settings.exp.cache is not None
    with processes.agreeing():
        device = choose_device(settings.device, processes)
        part = language_part(settings)
        if part is None:
            raise ValueError(
                "mode cache needs a source of a language model's states, such as `states` or `layers`; "
                f"{sources_said(settings)}"
            )
        data = open_data(settings)
        plan = make_plan(settings, part, data)
        writers = plan.writers(settings.exp.cache.shard_mb * SHARD_UNIT)
        missing = sum(writer.bytes_needed() for writer in writers)
        altered = [str(path) for writer in writers for path in writer.altered()]
        if missing:
            files = sum(writer.files_needed() for writer in writers)
            free_space_check(writers[0].folder.parent, missing, files)
            needed, streaming = _how(settings, plan, writers, device, processes)
    log = RunLog(silent=not processes.is_first)
    folders = [str(writer.folder) for writer in writers]
    num_tokens = int(plan.catalog.lengths.sum())
    if altered:
        shown = ", ".join(altered[:3]) + (", ..." if len(altered) > 3 else "")
        log(f"not as they were written, and computed anew: {len(altered):,} files ({shown})")
    if missing:
        log(
            f"{data.num_items:,} items, {num_tokens:,} tokens, {plan.contents} at depth "
            f"{', '.join(map(str, plan.depths))} of {plan.pretrained.num_layers} layers: "
            f"{missing / 1e9:.2f} GB to write to {', '.join(folders)}"
        )
        if streaming is not None:
            log(_why_streamed(settings, needed, streaming))
        plan.catalog.to(device)
        _build(settings, plan, writers, streaming, device, processes, log)
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
    writers: list[CacheWriter],
    streaming: Streaming | None,
    device: torch.device,
    processes: Processes,
    log: RunLog,
) -> None:
    """Run the lower layers over the items; can be stopped between two batches."""
    assert settings.exp.cache is not None
    todo, done, started = _items_missing(writers) // processes.world, 0.0, time.monotonic()
    left = [writer for writer in writers if writer.missing()] or writers  # what they need is read, no more
    # A stop concerns this process alone: its shards are its own, and no other process waits for them.
    with StopRequest(silent=not processes.is_first) as stop, bar("cache", todo, say=log) as show:

        def advanced(items: float) -> None:
            nonlocal done
            done += items
            show(min(round(done), todo), todo)
            stop.check()

        how: dict[str, Any] = {
            "token_budget": settings.exp.cache.token_budget,
            "share": (processes.rank, processes.world),
            "advanced": advanced,
            "mean": plan.mean,
            "say": partial(tell, processes, log),
        }
        if streaming is None:
            build_caches(left, plan.lower(left).to(device), plan.catalog, **how)
        else:
            layers = plan.streamed(left, device, streaming.ahead)
            depths, most = plan.depths_of(left), streaming.shards
            stream_caches(left, layers, plan.catalog, depths=depths, most_shards=most, **how)
    for writer in writers:
        writer.finish()
    seconds = time.monotonic() - started
    log(f"{round(done):,} items in {seconds:.1f} s, {rate_text(done / seconds)} items a second")


def _how(
    settings: Settings,
    plan: CachePlan,
    writers: list[CacheWriter],
    device: torch.device,
    processes: Processes,
) -> tuple[CacheMemory, Streaming | None]:
    """What the run takes, and how to read layers that do not fit in memory in one piece.

    Raises:
        ValueError: not even one layer fits in the memory that was given.
    """
    assert settings.exp.cache is not None
    on_host = device.type == "cpu"
    needed = cache_memory(plan, writers, settings.exp.cache.token_budget, on_host)
    asked = settings.exp.cache.memory_gb
    if asked is not None:
        check_memory(needed, asked, f"cache {plan.pretrained.name} in {plan.computed}")
    given = free_memory(device, processes) if asked is None else int(asked * 2**30)
    return needed, None if given is None else choose_streaming(needed, given, ahead_is_free=not on_host)


def _why_streamed(settings: Settings, needed: CacheMemory, streaming: Streaming) -> str:
    assert settings.exp.cache is not None
    asked = settings.exp.cache.memory_gb
    given = "is free" if asked is None else f"--memory_gb {asked:g} gives"
    return (
        f"{len(needed.layers)} layers take {gigabytes_up(needed.weights)} GB, and "
        f"{gigabytes_up(needed.whole)} GB with a batch and a shard, more than {given}: they are read one at "
        f"a time{', the next one ahead' if streaming.ahead else ''}, for at most {streaming.shards} shards "
        "at once, with the same result"
    )


def _items_missing(writers: list[CacheWriter]) -> int:
    missing = {index for writer in writers for index in writer.missing()}
    return sum(len(writers[0].shards[index]) for index in missing)
