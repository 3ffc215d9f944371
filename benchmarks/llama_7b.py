"""A language model of LLaMA's size on a small machine: cached layer by layer, then its top layer tuned.

    python -m benchmarks.llama_7b
    python -m benchmarks.llama_7b --shape 13b

Writes random bf16 weights of that shape (13.5 GB, 26 GB) and a store of a few items, runs the worker on them
as a user would, and prints seconds and peak memory of each run. Memory that is mapped from files is told
apart, for the system takes it back when others need it. With enough free memory, the cache is also written by
the model in one piece, and the files are compared. With --folder the weights stay there, and the next run
does not write them again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.scale_parts import ROOT, Memory, watched
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.files.digest import digest_file
from legorec.files.manifest import save_json
from legorec.lm.checkpoint_files import INDEX
from legorec.lm.pretrained import Pretrained

NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
SHAPES = {
    "7b": (4096, 11008, 32, 32, 32_000),
    "13b": (5120, 13824, 40, 40, 32_000),
    "tiny": (64, 96, 5, 4, 500),
}
MEMORY_GB = {"7b": 6.0, "13b": 6.0, "tiny": 0.01}
ROOM = 1.6  # free memory that the model in one piece needs, in units of its weights
SIZE = re.compile(r"([\d,]+) items in ([\d.]+) s")


@dataclass(frozen=True)
class Step:
    """One run of the worker."""

    name: str
    seconds: float
    memory: Memory
    said: str

    @property
    def per_item(self) -> float:
        """Seconds in the layers, with reading them, for an item."""
        found = SIZE.search(self.said)
        assert found is not None, self.said
        return float(found[2]) / int(found[1].replace(",", ""))


def write_weights(folder: Path, shape: str, layers: int | None = None) -> None:
    """A checkpoint of random numbers, one file for each layer; not more than two of them are in memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = dict(zip(NAMES, SHAPES[shape], strict=True))
    sizes |= {"num_hidden_layers": layers} if layers else {}
    config = AutoConfig.for_model("llama", dtype="bfloat16", **sizes)
    config.save_pretrained(folder)
    with torch.device("meta"):
        tensors = AutoModelForCausalLM.from_config(config).state_dict()
    files: dict[str, list[str]] = {}
    for name in tensors:
        layer = re.search(r"layers\.(\d+)\.", name)
        files.setdefault(f"model-{layer[1] if layer else name.split('.')[-2]}.safetensors", []).append(name)
    drawn: dict[str, torch.Tensor] = {}
    for file, names in files.items():
        save_file({name: _random(name, tensors[name].shape, drawn) for name in names}, folder / file)
    places = {name: file for file, names in files.items() for name in names}
    save_json(folder / INDEX, {"metadata": {}, "weight_map": places})


def _random(name: str, shape: torch.Size, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
    """Ones for a norm. Numbers of a layer are drawn once, and turned by its place in each of the others."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    layer = re.search(r"layers\.(\d+)\.(.+)", name)
    if layer is None:
        return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02)
    if layer[2] not in drawn:
        drawn[layer[2]] = torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02)
    return drawn[layer[2]].roll(7 * int(layer[1]), 0)


def prepare(folder: Path, options: argparse.Namespace) -> list[Step]:
    """The store, the weights where they are not there yet, and the tokenizer of the store's words."""
    store, weights = folder / "store", folder / "weights"
    size = {"items": options.items, "users": 50, "impressions": 64, "held_out": 32, "candidates": 5}
    size |= {"max_history": 10, "vocabulary": 400}
    flags = [part for name, count in size.items() for part in (f"--{name}", str(count))]
    watched([sys.executable, "-m", "process.synthetic", *flags, "--out", str(store), "--overwrite"])
    steps = []
    if not (weights / INDEX).exists():
        weights.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.llama_7b", "--write", str(weights)]
        command += ["--shape", options.shape, *(["--layers", str(options.layers)] if options.layers else [])]
        steps.append(_step("random weights written", command))
    shutil.copy(store / "tokenizers" / "words" / "tokenizer.json", weights)
    add_tokenization(store, "title", TokenizerChoice("llama", weights))
    return steps


def worker(folder: Path, exp: str, **flags: object) -> list[str]:
    """The command line of a run on the store and the weights."""
    given: dict[str, object] = {"lm_path": folder / "weights", "llm_ver": "random", "lm_dtype": "bf16"}
    given |= {"data.store": folder / "store", "runs": folder / "runs", "device": "cpu"}
    layers = {"data": "data/mind-llama", "model": "model/llama-naml", "exp": f"exp/{exp}"}
    given |= {name: ROOT / "config" / f"{file}.yaml" for name, file in layers.items()}
    parts = [part for name, value in (given | flags).items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "worker.py"), *parts]


def measure(folder: Path, options: argparse.Namespace) -> tuple[list[Step], str]:
    """All steps, and what is to be said of the two ways to write the cache."""
    steps = prepare(folder, options)
    model = Pretrained(folder / "weights")
    depths = [model.num_layers - 2, model.num_layers - 1]
    asked = {"exp.cache.layers": json.dumps(depths), "cache": folder / "streamed"}
    steps.append(_step("sizes from the config", worker(folder, "size", layer=depths[-1], **asked)))
    memory = options.memory_gb or MEMORY_GB[options.shape]
    name = f"cache at depths {depths[0]} and {depths[1]}, {{}}"
    command = worker(folder, "llama-split", memory_gb=memory, **asked)
    streamed = _step(name.format(f"layer by layer (`--memory_gb {memory:g}`)"), command)
    steps.append(streamed)
    note = beside_one_piece(folder, options, streamed, asked, name, steps)
    train = {"layer": depths[-1], "cache": folder / "streamed", "batch_size": 16, "epoch": 1, "lr": 1e-3}
    steps.append(_step("the top layer tuned with LoRA", worker(folder, "tt-llm", item_lr=1e-4, **train)))
    return steps, note


def beside_one_piece(
    folder: Path,
    options: argparse.Namespace,
    streamed: Step,
    asked: dict[str, object],
    name: str,
    steps: list[Step],
) -> str:
    """Write the cache again with the model in one piece, where there is the memory, and compare."""
    cost = f"{streamed.per_item:.3g} s an item layer by layer"
    size = sum(file.stat().st_size for file in (folder / "weights").glob("*.safetensors"))
    if available() < ROOM * size:
        needs = f"{ROOM * size / 1e9:.1f} GB of free memory"
        return f"{cost}; the model in one piece would need {needs}, and was not run."
    command = worker(folder, "llama-split", memory_gb=1e6, **(asked | {"cache": folder / "whole"}))
    whole = _step(name.format("in one piece"), command)
    steps.append(whole)
    found, wanted = (digests(folder / each) for each in ("streamed", "whole"))
    assert wanted
    told = "the same" if found == wanted else "NOT the same"
    return (
        f"{cost}, {whole.per_item:.3g} s in one piece (ratio {streamed.per_item / whole.per_item:.2f}); "
        f"the {len(wanted)} files of the caches are {told} to the byte."
    )


def digests(cache: Path) -> dict[Path, str]:
    """The digest of every file with states, by its place below the folder."""
    return {file.relative_to(cache): digest_file(file) for file in sorted(cache.rglob("*.safetensors"))}


def available() -> int:
    """Bytes that the system can give without swapping; 0 where it does not tell."""
    found = re.search(r"MemAvailable: *(\d+)", _read("/proc/meminfo"))
    return int(found[1]) * 1024 if found else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _step(name: str, command: list[str]) -> Step:
    print(f"{name} ...", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    said, memory = watched(command)
    return Step(name, time.perf_counter() - begin, memory, said)


def page(steps: list[Step], note: str, options: argparse.Namespace, model: Pretrained) -> str:
    """The table."""
    size = sum(file.stat().st_size for file in model.weight_files)
    lines = [
        f"{model.num_layers} layers of width {model.width}, {size / 1e9:.1f} GB in {len(model.weight_files)} "
        f"files, {options.items} items; {os.cpu_count()} CPU cores, {torch.get_num_threads()} torch threads.",
        "",
        "| | seconds | peak memory, GB | mapped files, GB |",
        "|---|---:|---:|---:|",
    ]
    for each in steps:
        anonymous, files = (size * 2**20 / 1e9 for size in (each.memory.anonymous, each.memory.files))
        lines.append(f"| {each.name} | {each.seconds:.0f} | {anonymous:.1f} | {files:.1f} |")
    return "\n".join([*lines, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="7b")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to see that everything runs")
    parser.add_argument("--layers", type=int, help="fewer than the shape has, where disk or memory is short")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--memory_gb", type=float, help="for the cache run layer by layer")
    parser.add_argument("--folder", type=Path, help="for weights and caches, which stay there")
    parser.add_argument("--write", type=Path, help="only write weights into this folder")
    options = parser.parse_args()
    if options.tiny:
        options.shape = "tiny"
    if options.write:
        write_weights(options.write, options.shape, options.layers)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for old in ("streamed", "whole", "runs"):
            shutil.rmtree(folder / old, ignore_errors=True)
        steps, note = measure(folder, options)
        print(page(steps, note, options, Pretrained(folder / "weights")))


if __name__ == "__main__":
    main()
