"""Digests of what eight short seeded runs give, over one process and over two.

They are equal before and after a change that is to change nothing::

    make named-models ARGS=--help            prepares the stores, the language models and the codes
    python -m benchmarks.digests --out digests.md
    python -m benchmarks.digests --same digests.md     fails where a digest is another one now

A row names the run folder, whose name ends in the digest of the settings, and gives the digests of
``metrics.json`` and of the weights of the best epoch. They hold on one machine with one torch thread: another
processor may round otherwise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

from safetensors.torch import load_file

from legorec.engine.run_folder import best_checkpoint

LLAMA = "--lm_path {llama} --llm_ver stories --cache null --layer -1 --epoch_batch 8"
BERT = "--lm_path weights/minilm --llm_ver MiniLM --cache weights/minilm-split --layer -1 --epoch_batch 8"
SHORT = "--epoch 2 --batch_size 128 --epoch_batch 12"
CLICKS = "--data config/data/movielens.yaml --exp config/exp/tt-nrms.yaml"
TUNED = "--exp config/exp/tt-llm.yaml --epoch 2 --batch_size 32"
RUNS = {
    "NRMS": f"{CLICKS} {SHORT} --model config/model/lego_nrms.yaml",
    "NAML": f"{CLICKS} {SHORT} --model config/model/lego_naml.yaml --acc_batch 2 --item_page_size 300",
    "DIN": f"{CLICKS} {SHORT} --model config/model/lego_din.yaml --warmup 5 --clip_norm 1",
    "MINER": f"{CLICKS} {SHORT} --model config/model/lego_miner.yaml",
    "SASRec by id": f"{CLICKS} {SHORT} --model config/model/lego_sasrec_id.yaml --simple_dev true",
    "BERT-NAML, LoRA, cached": "--data config/data/movielens-bert.yaml --model config/model/bert-naml.yaml "
    f"{TUNED} {BERT}",
    "LLaMA-NRMS, no cache": "--data config/data/movielens-llama.yaml --model config/model/llama-nrms.yaml "
    f"{TUNED} {LLAMA}",
    "semantic": f"{CLICKS} {SHORT} --embed config/embed/semantic-codes.yaml "
    "--model config/model/semantic_gru.yaml",
}
CACHE = (
    "--data config/data/movielens-bert.yaml --model config/model/bert-naml.yaml "
    "--exp config/exp/bert-split.yaml --lm_path weights/minilm --llm_ver MiniLM "
    "--cache weights/minilm-split --exp.cache.layers [-1]"
)


def started(flags: str, processes: int, runs: Path) -> None:
    """One run of the worker, alone or shared among processes.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launch, "worker.py", *flags.split(), "--runs", str(runs), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--overwrite", "true"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def digest(data: bytes) -> str:
    """Sixteen hex digits."""
    return blake2b(data, digest_size=8).hexdigest()


def weights_digest(run: Path) -> str:
    """The digest of the weights of a run's best epoch: names, shapes, dtypes and bytes."""
    whole = blake2b(digest_size=8)
    tensors = load_file(best_checkpoint(run) / "weights.safetensors")
    for name, value in sorted(tensors.items()):
        whole.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        whole.update(value.contiguous().flatten().view(-1).numpy().tobytes())
    return whole.hexdigest()


def row(name: str, flags: str, processes: int, runs: Path) -> str:
    """A line of the table."""
    place = runs / f"{processes}-{name.replace(' ', '-')}"
    started(flags, processes, place)
    (metrics,) = place.rglob("metrics.json")
    found = f"`{digest(metrics.read_bytes())}` | `{weights_digest(metrics.parent)}`"
    return f"| {name} | {processes} | {metrics.parent.name} | {found} |"


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama", default="weights/stories260K", help="a small LLaMA")
    parser.add_argument("--runs", type=Path, default=Path("runs/digests"))
    parser.add_argument("--only", action="append", choices=list(RUNS), help="these runs alone")
    parser.add_argument("--out", type=Path, help="write the table here")
    parser.add_argument("--same", type=Path, help="a table that was written before, to be equal to")
    options = parser.parse_args(argv)
    started(CACHE, 1, options.runs)
    before = options.same.read_text(encoding="utf-8").splitlines() if options.same else []
    lines = ["| run | processes | folder | metrics.json | weights |", "|---|---:|---|---|---|"]
    print("\n".join(lines), flush=True)
    changed = 0
    for name in options.only or RUNS:
        for processes in (1, 2):
            lines.append(row(name, RUNS[name].format(llama=options.llama), processes, options.runs))
            other = bool(before) and lines[-1] not in before
            changed += other
            print(lines[-1] + (" CHANGED" if other else ""), flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
