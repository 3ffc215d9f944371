"""The benchmark of LLaMA's size: its weights are a checkpoint, and at a tiny shape all of it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from benchmarks import llama_7b
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.pretrained import Pretrained

ROOT = Path(__file__).resolve().parents[2]


def test_the_random_weights_are_a_checkpoint_whose_layers_differ(tmp_path: Path) -> None:
    llama_7b.write_weights(tmp_path, "tiny")
    model = Pretrained(tmp_path)
    LowerLayers(model, [model.num_layers], "bf16")
    UpperLayers(model, 0, "bf16")
    layers = [load_file(tmp_path / f"model-{place}.safetensors") for place in range(model.num_layers)]
    drawn = [layer[f"model.layers.{place}.mlp.up_proj.weight"] for place, layer in enumerate(layers)]
    assert all(not one.equal(other) for one, other in zip(drawn, drawn[1:], strict=False))
    llama_7b.write_weights(tmp_path / "fewer", "tiny", 2)
    assert Pretrained(tmp_path / "fewer").num_layers == 2


def test_shapes_have_the_parameters_of_their_names() -> None:
    for name, wanted in (("7b", 6.74e9), ("13b", 13.0e9)):
        width, inner, layers, _, words = llama_7b.SHAPES[name]
        assert 2 * words * width + layers * (4 * width**2 + 3 * width * inner) == pytest.approx(
            wanted, rel=0.01
        )


@pytest.mark.slow
def test_all_of_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.llama_7b", "--tiny", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows = re.findall(r"^\| ([^|]+) \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", done.stdout, re.M)
    assert len(rows) == 5 and "layer by layer (`--memory_gb 0.01`)" in rows[2] and "one piece" in rows[3]
    assert re.search(
        r"s an item layer by layer, .* the 2 files of the caches are the same to the byte", done.stdout
    )
