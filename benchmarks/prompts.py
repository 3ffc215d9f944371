"""Scoring the candidates of a user by prompts: what they have in common read once, against whole prompts.

python -m benchmarks.prompts [--sizes 64x4]    CPU seconds in one thread, and what two rows of a head save
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from legorec.batch import TokenBatch
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.untrained import Untrained

USERS, CANDIDATES, PREFIX, OWN, VOCABULARY = 2, 21, 300, 40, 32_000
ANSWERS = (11, 5)
ROUNDS = 5


@dataclass(frozen=True)
class Lists:
    """The prompts of some users, each a prefix and one end a candidate."""

    batch: TokenBatch
    owner: np.ndarray  # (B,) the user of each row


def drawn_lists(users: int = USERS, candidates: int = CANDIDATES, seed: int = 0) -> Lists:
    """Prompts of random tokens."""
    rng = np.random.default_rng(seed)
    prefix = np.repeat(rng.integers(20, VOCABULARY, (users, PREFIX)), candidates, axis=0)
    tokens = np.concatenate([prefix, rng.integers(20, VOCABULARY, (len(prefix), OWN))], axis=1)
    count = len(tokens)
    batch = TokenBatch(
        torch.from_numpy(tokens.reshape(-1)), torch.full((count,), tokens.shape[1]),
        torch.zeros(0, dtype=torch.int64), {}, torch.arange(count), torch.zeros(count),
    )  # fmt: skip
    return Lists(batch, np.repeat(np.arange(users), candidates))


def drawn_model(width: int = 64, layers: int = 4) -> CausalModel:
    """A LLaMA that nobody trained."""
    torch.manual_seed(0)
    sizes = Untrained(VOCABULARY, width, layers, 4)
    return CausalModel(sizes, ANSWERS, lora=LoRA(enabled=False)).eval()


def cpu_seconds(work: Callable[[], Tensor]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    with torch.inference_mode():
        work()
    return time.process_time() - start


def prefix_seconds(model: CausalModel, lists: Lists) -> dict[str, float]:
    """Both ways, one right after the other."""
    return {
        "whole": cpu_seconds(lambda: model(lists.batch)),
        "shared": cpu_seconds(lambda: model.score_lists(lists.batch, lists.owner)),
    }


def head_seconds(model: CausalModel, rows: int) -> dict[str, float]:
    """The logits of the whole vocabulary at each row's end, and those of the two answers."""
    states = torch.randn(rows, model.base.width)
    return {
        "vocabulary": cpu_seconds(lambda: model.logits(states)),
        "two rows": cpu_seconds(lambda: model.logits(states, list(ANSWERS))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="64x4", metavar="WIDTHxLAYERS")
    width, layers = map(int, parser.parse_args().sizes.split("x"))
    torch.set_num_threads(1)
    model, lists = drawn_model(width, layers), drawn_lists()
    for title, turn in (
        (f"{CANDIDATES} candidates of {OWN} tokens after {PREFIX}", lambda: prefix_seconds(model, lists)),
        (f"head of {VOCABULARY:,} rows", lambda: head_seconds(model, len(lists.owner))),
    ):
        turn()
        turns = [turn() for _ in range(ROUNDS)]
        slow, fast = turns[0]
        ratio = median(each[slow] / each[fast] for each in turns)
        costs = ", ".join(
            f"{name} {USERS / median(each[name] for each in turns):,.1f} users/s" for name in turns[0]
        )
        print(f"{title}, LLaMA of width {width} and {layers} layers: {costs}; {ratio:.1f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
