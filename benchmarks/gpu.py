"""What a GPU makes of legorec, as a page to send back: ``python -m benchmarks.gpu > gpu.md``.

It needs no data: a store and a random language model of MiniLM's shape are made on the spot, unless
``--store`` and ``--weights`` name others. Measured are training steps in fp32 and bf16, ranking, the cache
run and training steps on it, and how often each makes the host wait for the device: in training once in 50
steps, to see that all is finite, and at the end of an epoch. ``--device cpu --quick`` tries it out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import lm_cache, lm_report, lm_subject, lm_tiny, lm_training, subject
from benchmarks.lm_subject import PRECISIONS, TOKEN_BUDGET, Checkpoint, LanguageModel
from benchmarks.lm_timing import seconds
from legorec.data.evaluation import Impressions
from legorec.data.store import Store
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.engine.rank import rank
from legorec.lm.build_cache import build_caches
from legorec.lm.cut import LowerLayers, Precision
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.scorers.clicks import ClickScorer
from process import synthetic

STEPS, LM_ROUNDS, LM_STEPS = 200, 5, 10
MIXTURES: list[tuple[Precision, bool]] = [("fp32", False), ("bf16", False), ("bf16", True)]  # autocast
MINILM: dict[str, Any] = {
    **{"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12, "num_hidden_layers": 6},
    **{"max_position_embeddings": 512, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
}
SMALL_STORE = ("--items", "60", "--users", "40", "--impressions", "400", "--max_history", "30")
Count = Callable[[Callable[[], Any]], int | None]
HEAD = "| model | dtype | step, ms | waits, steps | peak, MiB | impressions/s ranked | waits of ranking |"


def waits(run: Callable[[], Any]) -> int | None:
    """How often it makes the host wait for CUDA; None where that cannot be counted."""
    if not torch.cuda.is_initialized():
        run()
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


@dataclass(frozen=True)
class Figures:
    """Of one model in one precision."""

    model: str
    dtype: str
    step: float  # milliseconds
    waits_of_epoch: int | None
    steps: int  # of the epoch
    peak: float | None  # MiB
    ranked: float  # impressions a second
    waits_of_ranking: int | None

    def row(self) -> str:
        cells = [
            self.model,
            self.dtype,
            f"{self.step:.2f}",
            f"{told(self.waits_of_epoch)} in {self.steps}",
            "-" if self.peak is None else f"{self.peak:.0f}",
            f"{self.ranked:,.0f}",
            told(self.waits_of_ranking),
        ]
        return f"| {' | '.join(cells)} |"


def told(count: int | None) -> str:
    return "-" if count is None else str(count)


def measure(
    name: str, store: Store, device: torch.device, bf16: bool, steps: int = STEPS, count: Count = waits
) -> Figures:
    """Training and ranking of one model, after an epoch that is not counted."""
    model = subject.recommender(name, subject.open_catalog(store).to(device)).to(device)
    stream, objective = subject.click_stream(store, steps), SampledSoftmaxObjective(subject.NUM_NEGATIVES)
    options, optimizer = FitOptions(bf16=bf16), make_optimizer(model, lr=1e-3)
    rounds = fit(model, stream, objective, optimizer, options, Progress())
    next(rounds)
    memory = torch.get_device_module(device) if device.type != "cpu" else None
    if hasattr(memory, "reset_peak_memory_stats"):
        memory.reset_peak_memory_stats()  # type: ignore[union-attr]
    spent = seconds(lambda: next(rounds), device)
    peak = getattr(memory, "max_memory_allocated", lambda: None)()
    waiting = count(lambda: next(rounds))
    data = Impressions(store.interactions("test"), subject.histories(store), len(store.items))
    rank(ClickScorer(model, data), bf16=bf16)
    ranked = seconds(lambda: rank(ClickScorer(model, data), bf16=bf16), device)
    return Figures(
        model=name,
        dtype="bf16 autocast" if bf16 else "fp32",
        step=1000 * spent / steps,
        waits_of_epoch=waiting,
        steps=steps,
        peak=None if peak is None else peak / 2**20,
        ranked=len(data) / ranked,
        waits_of_ranking=count(lambda: rank(ClickScorer(model, data), bf16=bf16)),
    )


def cache_waits(model: LanguageModel, folder: Path, device: torch.device, count: Count = waits) -> str:
    """One line about a cache run in one shard."""
    lower = LowerLayers(model.pretrained, [model.depth], "fp32").to(device)
    model.catalog.to(device)
    writer = lm_subject.cache_writer(model, folder / "waits", "fp32")

    def run() -> None:
        build_caches([writer], lower, model.catalog, token_budget=TOKEN_BUDGET)

    waiting = count(run)
    model.catalog.to("cpu")
    return f"The cache run of {model.name} waits {told(waiting)} times in {len(writer.shards)} shards."


def measure_language_model(
    model: LanguageModel, caches: Path, device: str = "cuda", rounds: int = LM_ROUNDS, steps: int = LM_STEPS
) -> str:
    """The tables of the cache run and of a training step, in each precision."""
    written = [lm_cache.measure(model, each, rounds=rounds, device=device) for each in PRECISIONS]
    stepped = [
        lm_training.measure(
            model,
            each,
            caches,
            batch_size=subject.BATCH_SIZE,
            rounds=rounds,
            steps=steps,
            device=device,
            autocast=autocast,
        )
        for each, autocast in MIXTURES
    ]
    return "\n\n".join([lm_report.cache(written), lm_report.steps(stepped)])


def heading(device: torch.device) -> str:
    """What was measured on."""
    name = "the CPU"
    if device.type != "cpu":
        name = getattr(torch.get_device_module(device), "get_device_name", lambda: device.type)()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda or '-'}"
    tf32 = torch.get_float32_matmul_precision()
    return f"# legorec on {name}\n\n{versions}, float32 products `{tf32}`, {time.strftime('%Y-%m-%d')}\n"


def accelerator(name: str) -> torch.device | None:
    """The device to measure; None where there is no GPU and nothing else was asked for."""
    if name != "auto":
        return torch.zeros(0, device=name).device
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if found is None else torch.zeros(0, device=found).device


def prepared(options: argparse.Namespace, scratch: Path) -> tuple[Store, list[LanguageModel]]:
    """The store and the language models to measure."""
    if options.store is None:
        synthetic.main(["--out", str(scratch / "clicks"), *(SMALL_STORE if options.quick else ())])
    store = Store.open(options.store or scratch / "clicks")
    if options.weights is not None:
        checkpoints = lm_subject.checkpoints(options.weights)
        copy = lm_subject.tokenized_copy(options.text_store, scratch / "texts", checkpoints)
        return store, [lm_subject.open_language_model(each, copy) for each in checkpoints]
    if options.quick:
        checkpoints = lm_tiny.tiny_checkpoints(store, scratch)[:1]
    else:
        folder = lm_tiny.random_model(store, scratch / "bert", "bert", MINILM)
        checkpoints = [Checkpoint("MiniLM's shape", folder, 5, lm_tiny.TEMPLATE)]
    copy = lm_subject.tokenized_copy(store.path, scratch / "texts", checkpoints)
    return store, [lm_subject.open_language_model(each, copy) for each in checkpoints]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, xpu, mps, cpu")
    parser.add_argument("--quick", action="store_true", help="little data and few steps: does it run?")
    parser.add_argument("--store", type=Path, help="a store of clicks; left out: a generated one")
    parser.add_argument("--weights", type=Path, help="folder of minilm and smollm2; left out: random weights")
    parser.add_argument("--text_store", type=Path, default=Path("data/ML-100K"), help="with --weights")
    options = parser.parse_args(argv)
    device = accelerator(options.device)
    if device is None:
        print(f"no GPU here (torch {torch.__version__}); --device cpu --quick tries it out", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        store, models = prepared(options, Path(scratch))
        print(heading(device))
        print(f"{HEAD}\n|---|---|{'---:|' * 5}")
        for name in subject.MODELS:
            for bf16 in (False, True):
                print(measure(name, store, device, bf16, 4 if options.quick else STEPS).row(), flush=True)
        for number, model in enumerate(models):
            caches = Path(scratch) / f"caches-{number}"
            print(f"\n{cache_waits(model, caches, device)}\n", flush=True)
            sizes = (1, 1) if options.quick else (LM_ROUNDS, LM_STEPS)
            print(measure_language_model(model, caches, str(device), *sizes), flush=True)
    if device.type == "cpu":
        print("\nMeasured on the CPU, to try the command out: nothing here is about a GPU.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
