"""Measurements on a CUDA device: ``python -m benchmarks.gpu [--store data/synthetic]``.

Training steps per second in fp32 and bf16, how often a step makes the host wait, peak memory, and ranking;
with ``--weights FOLDER``, which holds minilm and smollm2, also the cache run and training steps on it, on the
items of ``--text_store``. None of its figures is quoted anywhere yet: so far only a CPU was available.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from benchmarks import lm_cache, lm_report, lm_subject, lm_training, subject
from benchmarks.lm_subject import PRECISIONS, LanguageModel
from legorec.data.clicks import ClickStream
from legorec.data.evaluation import Impressions
from legorec.data.store import Store
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.engine.rank import rank
from legorec.lm.cut import Precision
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.scorers.clicks import ClickScorer

STEPS = 200
LM_ROUNDS, LM_STEPS = 5, 10
MIXTURES: list[tuple[Precision, bool]] = [("fp32", False), ("bf16", False), ("bf16", True)]  # autocast


def waits(stream: ClickStream, model: torch.nn.Module) -> int:
    """How often one forward and backward pass waits for the device; it should be 0."""
    objective = SampledSoftmaxObjective(subject.NUM_NEGATIVES)
    batch = stream.batch(0).to("cuda")
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            objective(model, batch).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return len(caught)


def measure(name: str, store: Store, bf16: bool) -> str:
    """One line for one model and precision."""
    catalog = subject.open_catalog(store).to("cuda")
    model = subject.recommender(name, catalog).to("cuda")
    stream = subject.click_stream(store, STEPS)
    waiting = waits(stream, model)
    objective = SampledSoftmaxObjective(subject.NUM_NEGATIVES)
    rounds = fit(model, stream, objective, make_optimizer(model, lr=1e-3), FitOptions(bf16=bf16), Progress())
    next(rounds)
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    next(rounds)
    torch.cuda.synchronize()
    steps = STEPS / (time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() / 2**20
    data = Impressions(store.interactions("test"), subject.histories(store), len(store.items))
    begin = time.perf_counter()
    rank(ClickScorer(model, data), bf16=bf16)
    ranked = len(data) / (time.perf_counter() - begin)
    precision = "bf16" if bf16 else "fp32"
    return (
        f"{name} {precision}: {steps:.0f} steps/s, {waiting} waits a step, peak {peak:.0f} MiB, "
        f"{ranked:.0f} impressions/s ranked"
    )


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("data/synthetic"))
    parser.add_argument("--weights", type=Path, help="folder of minilm and smollm2; left out: neither")
    parser.add_argument("--text_store", type=Path, default=Path("data/ML-100K"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    store = Store.open(options.store)
    for name in subject.MODELS:
        for bf16 in (False, True):
            print(measure(name, store, bf16), flush=True)
    if options.weights is None:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = lm_subject.checkpoints(options.weights)
        copy = lm_subject.tokenized_copy(options.text_store, Path(scratch) / "store", checkpoints)
        for each in checkpoints:
            model = lm_subject.open_language_model(each, copy)
            print(measure_language_model(model, Path(scratch) / "caches"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
