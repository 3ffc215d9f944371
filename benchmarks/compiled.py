"""What ``torch.compile`` brings to dense bricks, forward and backward: ``python -m benchmarks.compiled``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from legorec.lm.cut import UpperLayers
from legorec.lm.model_types import part
from legorec.lm.pretrained import find_pretrained
from legorec.predictors.autoint import AutoIntPredictor
from legorec.predictors.dcn import DCNPredictor
from legorec.predictors.dcnv2 import DCNv2Predictor
from legorec.predictors.finalmlp import FinalMLPPredictor

WIDTH = 64
PREDICTORS: dict[str, Callable[..., nn.Module]] = {
    "DCN": DCNPredictor,
    "DCN V2": DCNv2Predictor,
    "FinalMLP": FinalMLPPredictor,
    "AutoInt": AutoIntPredictor,
}
Step = Callable[[int], Tensor]


def predictor_step(brick: nn.Module, users: int = 256, candidates: int = 5) -> Step:
    """A training step without an optimizer, by its seed; gives the gradient of the users."""

    def step(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        user = torch.randn(users, WIDTH, generator=generator, requires_grad=True)
        items = torch.randn(users, candidates, WIDTH, generator=generator, requires_grad=True)
        brick(user, items).square().mean().backward()
        assert user.grad is not None
        return user.grad

    return step


def layer_step(upper: UpperLayers, width: int, rows: int = 200) -> Step:
    """The same of the upper layers of a language model, over rows of 3 to 24 tokens."""

    def step(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, 25, (rows,), generator=generator)
        values = torch.randn(int(lengths.sum()), width, generator=generator, requires_grad=True)
        upper(values, lengths).square().mean().backward()
        assert values.grad is not None
        return values.grad

    return step


def language_model(kind: str, folder: Path, small: bool) -> tuple[UpperLayers, UpperLayers, int]:
    """The top layer of MiniLM's or SmolLM2's shape, plain and compiled, with the same random weights."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    heads, width = (2, 16) if small else (12, 384) if kind == "BERT" else (9, 576)
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 4 * width if kind == "BERT" else 1536,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "vocab_size": 1000,
    }
    model = BertModel(BertConfig(**sizes)) if kind == "BERT" else LlamaModel(LlamaConfig(**sizes))
    model.save_pretrained(folder / kind)
    pretrained = find_pretrained(str(folder / kind))
    plain, compiled = UpperLayers(pretrained, 1), UpperLayers(pretrained, 1)
    layers: Any = part(compiled.model, pretrained.family.layers)
    layers[1].compile(dynamic=True)
    return plain, compiled, width


def compare(name: str, plain: Step, compiled: Step, rounds: int) -> tuple[str, float, float, float, float]:
    """Name, seconds of compiling, milliseconds of a plain and a compiled step in CPU time, and how far the
    gradients are apart without dropout."""
    begin = time.perf_counter()
    compiled(0)
    seconds = time.perf_counter() - begin
    compiled(1)
    spent: dict[str, list[float]] = {"plain": [], "compiled": []}
    for turn in range(rounds):
        for kind, step in (("plain", plain), ("compiled", compiled)):
            start = time.process_time()
            step(turn)
            spent[kind].append(1000 * (time.process_time() - start))
    apart = float((plain(7) - compiled(7)).abs().max())
    return name, seconds, median(spent["plain"]), median(spent["compiled"]), apart


def cases(folder: Path, small: bool) -> list[tuple[str, Step, Step]]:
    """What is compared: without dropout, so that the results can be."""
    found: list[tuple[str, Step, Step]] = []
    sizes = (8, 2) if small else (256, 5)
    for name, brick in PREDICTORS.items():
        plain, compiled = brick(WIDTH), brick(WIDTH)
        compiled.load_state_dict(plain.state_dict())
        compiled.compile()
        pair = [predictor_step(each.eval(), *sizes) for each in (plain, compiled)]
        found.append((name, pair[0], pair[1]))
    for kind in ("BERT", "LLaMA"):
        one, other, width = language_model(kind, folder, small)
        pair = [layer_step(each.eval(), width, 4 if small else 200) for each in (one, other)]
        found.append((f"a layer of {kind}", pair[0], pair[1]))
    return found


def main(arguments: list[str] | None = None) -> list[tuple[str, float, float, float, float]]:
    """Print a table; returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--small", action="store_true", help="tiny shapes, for the tests")
    parser.add_argument("--only", metavar="NAME", help="one row of the table")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    print("| brick | compiling, s | plain, ms | compiled, ms | plain / compiled |\n|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        for case in cases(Path(folder), args.small):
            if args.only in (None, case[0]):
                rows.append(compare(*case, args.rounds))
                name, seconds, plain, fast, _ = rows[-1]
                print(
                    f"| {name} | {seconds:.0f} | {plain:.1f} | {fast:.1f} | {plain / fast:.2f} |", flush=True
                )
    return rows


if __name__ == "__main__":
    main()
