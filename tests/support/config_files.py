"""A small set of config files that is right, for tests that make it wrong."""

from __future__ import annotations

from pathlib import Path

DATA = """\
$$import: parts/clicks.yaml
name: MIND-${version:small}
fields:
  title@words: {max_length: 20}
  category:
splits:
  train: train
"""
CLICKS = """\
store: data/${data.name}
history:
  max_length: 50
group_by: impression
"""
EMBED = """\
name: random
tables: []
"""
MODEL = """\
name: NRMS
source:
  name: table
  embed_dim: ${embed_hidden_size:64}$
item_encoder:
  name: nrms
  hidden_dim: ${hidden_size:64}$
  heads: 8
user_encoder:
  name: nrms
  heads: 8
predictor: {name: dot}
objective:
  name: sampled_softmax
  num_negatives: 4
"""
EXP = """\
$$import: parts/policy.yaml
name: tt-${model.name}
mode: train_test
accepts: [llm_ver]
metrics: [gauc, ndcg@10]
"""
POLICY = """\
policy:
  epoch: 50
  lr: ${lr:1e-3}$
  item_lr: ${item_lr:null}$
  batch_size: 64
evaluation:
  fast: ${fast_eval:true}$
"""
FILES = {
    "data.yaml": DATA,
    "parts/clicks.yaml": CLICKS,
    "embed.yaml": EMBED,
    "model.yaml": MODEL,
    "exp.yaml": EXP,
    "parts/policy.yaml": POLICY,
}
LAYERS = ("data", "embed", "model", "exp")


def write_files(folder: Path) -> None:
    """The right files."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def arguments(folder: Path, *more: str) -> list[str]:
    """The command line that names them."""
    named = [part for layer in LAYERS for part in (f"--{layer}", str(folder / f"{layer}.yaml"))]
    return [*named, *more]
