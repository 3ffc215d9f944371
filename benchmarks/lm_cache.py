"""The cache run beside the bare model: items per second, and bytes on disk beside those of the states."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import lm_plain, lm_subject
from benchmarks.lm_subject import TOKEN_BUDGET, LanguageModel
from benchmarks.lm_timing import in_turns, medians
from legorec.lm.build_cache import build_caches, length_sorted_batches
from legorec.lm.cut import LowerLayers, Precision
from legorec.lm.pretrained import DTYPES
from legorec.lm.state_cache import CacheWriter, HiddenStateCache

PaddedBatch = dict[str, Tensor]


@dataclass(frozen=True)
class CacheFigures:
    """Items per second are medians; ``difference`` is the largest between cached states and those of the bare
    model, in units of the largest state."""

    model: str
    precision: str
    depth: int
    layers: int
    items: int
    tokens: int
    bare: float
    ours: float
    on_disk: int  # bytes
    states: int  # bytes that the valid tokens take
    difference: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare

    @property
    def overhead(self) -> float:
        """Of the files, over the states in them."""
        return self.on_disk / self.states - 1


def padded_batches(
    model: LanguageModel, device: torch.device | str
) -> tuple[list[list[int]], list[PaddedBatch]]:
    """Rows of each batch of the cache run, and the bare model's inputs for them."""
    lengths = model.catalog.lengths.sum(1).numpy()
    tokens = model.catalog.tokens(torch.arange(len(lengths)))
    items = tokens.ids.cpu().split(lengths.tolist())
    rows = [each.tolist() for each in length_sorted_batches(lengths, TOKEN_BUDGET)]
    batches = []
    for each in rows:
        ids, mask = lm_plain.padded([items[row] for row in each])
        batch = {"input_ids": ids} if mask.all() else {"input_ids": ids, "attention_mask": mask.long()}
        batches.append({name: value.to(device) for name, value in batch.items()})
    return rows, batches


def measure(
    model: LanguageModel, precision: Precision, *, rounds: int, device: torch.device | str = "cpu"
) -> CacheFigures:
    """Both in turns over all items of the catalogue: only the bare model's forward passes, with inputs padded
    beforehand, and a whole cache run, from token ids to a finished cache on disk."""
    rows, batches = padded_batches(model, device)
    bare = lm_plain.lower_model(model.checkpoint.folder, model.depth, DTYPES[precision]).to(device)
    lower = LowerLayers(model.pretrained, [model.depth], precision).to(device)
    model.catalog.to(device)
    with tempfile.TemporaryDirectory() as scratch:
        folders = iter(Path(scratch) / str(number) for number in range(rounds + 1))
        built: list[CacheWriter] = []

        def run_bare() -> None:
            with torch.inference_mode():
                for batch in batches:
                    bare(**batch)

        def run_ours() -> None:
            writer = lm_subject.cache_writer(model, next(folders), precision)
            build_caches([writer], lower, model.catalog, token_budget=TOKEN_BUDGET)
            built.append(writer)

        spent = medians(in_turns({"bare": run_bare, "ours": run_ours}, rounds, device))
        writer = built[-1]
        cache = HiddenStateCache.open(writer.folder.parent, writer.identity)
        on_disk = sum(file.stat().st_size for file in writer.folder.rglob("*") if file.is_file())
        with torch.inference_mode():
            largest = difference(cache, rows[0], bare(**batches[0]).last_hidden_state)
    model.catalog.to("cpu")
    items = model.catalog.num_items
    return CacheFigures(
        model=model.name,
        precision=precision,
        depth=model.depth,
        layers=model.pretrained.num_layers,
        items=items,
        tokens=cache.num_tokens,
        bare=items / spent["bare"],
        ours=items / spent["ours"],
        on_disk=on_disk,
        states=cache.nbytes,
        difference=largest,
    )


def difference(cache: HiddenStateCache, rows: list[int], states_RLE: Tensor) -> float:
    """The difference between the cached states of one batch and the bare model's, in units of the largest."""
    found = cache.gather(torch.tensor(rows)).float()
    lengths = cache.lengths[rows].tolist()
    values = states_RLE.float().cpu()
    expected = torch.cat([row[:length] for row, length in zip(values, lengths, strict=True)])
    return float((found - expected).abs().max() / expected.abs().max())
