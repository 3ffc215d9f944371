"""A stand-in for a checkout of Legommenders 2: its command line and its output, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

# Flags come in pairs, and those that are not read are not refused; reads of `.data` are by key.
PROCESS = """
import pathlib, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
named = dict(map(str.strip, line.split("=")) for line in open(".data").read().strip().split("\\n"))
raw = pathlib.Path(named[flags["--data"]])
assert (raw / "train" / "news.tsv").exists() and (raw / "dev" / "behaviors.tsv").exists()
pathlib.Path("data", flags["--data"]).mkdir(parents=True)
print("[00:00:01] |MINDProcessor| done")
"""
TRAINER = """
import pathlib, sys, time
flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
assert pathlib.Path("data/mind").is_dir() and pathlib.Path(flags["--data"]).exists()
assert pathlib.Path(flags["--model"]).exists()
print("[00:00:02] |Trainer| [epoch 0] GAUC 0.5432")
time.sleep(0.2)
print("[00:00:03] |Trainer| Training Ended")
for line in ("GAUC: 0.6123", "MRR: 0.2500", "NDCG@1: 0.1000", "NDCG@5: 0.3000", "NDCG@10: 0.3500"):
    print("\\x1b[31m[00:00:04]\\x1b[0m |Trainer| " + line)
"""


def write_checkout(folder: Path, raw: Path | None) -> Path:
    """The checkout; ``raw`` is what its ``.data`` names."""
    (folder / "config" / "data").mkdir(parents=True)
    (folder / "config" / "model").mkdir()
    for name in ("data/mind", "model/naml", "model/nrms"):
        (folder / "config" / f"{name}.yaml").write_text("name: stand-in\n")
    (folder / "process.py").write_text(PROCESS)
    (folder / "trainer.py").write_text(TRAINER)
    if raw is not None:
        (folder / ".data").write_text(f"goodreads = /elsewhere\nmind = {raw.resolve()}\n")
    return folder
