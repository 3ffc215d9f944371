"""Local generation beside a bare loop of ``generate`` over the same model: python -m benchmarks.generation

The bare loop sorts the prompts by length, cuts them into batches of the same sizes, pads on the left and
calls ``model.generate``. Both generate greedily; turns alternate, and what is compared is the CPU time of
this process, so that a busy machine changes little. With ``--checkpoint`` the model is one of a folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from legorec.texts import GenerationParameters, Message, TextAnswer, TextRequest
from legorec.texts.local import LocalTextGenerator

WORDS = "a story of two friends who find an old film in the attic and go on a long way to its maker".split()


def main() -> None:
    """Print tokens a second of CPU time of both, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("weights/smollm2"))
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--max_tokens", type=int, default=32)
    parser.add_argument("--token_budget", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    parameters = GenerationParameters(max_tokens=options.max_tokens)
    source = LocalTextGenerator.from_folder(
        options.checkpoint, chat="plain", token_budget=options.token_budget
    )
    requests = prompts(options.prompts)
    runs: dict[str, Callable[[], int]] = {
        "bare": lambda: bare(source.model, source.tokenizer, requests, parameters, options.token_budget),
        "legorec": lambda: ours(source, requests, parameters),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(options.repeats + 1):
        for name, run in runs.items():
            started = time.process_time()
            tokens = run()
            if repeat:  # the first one warms up
                rates[name].append(tokens / (time.process_time() - started))
    for name, values in rates.items():
        print(f"{name:8} {median(values):8.1f} tokens a second of CPU time")
    pairs = zip(rates["legorec"], rates["bare"], strict=True)
    print(f"ratio    {median(ours / bare for ours, bare in pairs):8.2f}")


def prompts(number: int) -> list[TextRequest]:
    """Texts of 3 to 60 words."""
    texts = [" ".join((WORDS * 4)[place % 17 : place % 17 + 3 + place * 7 % 58]) for place in range(number)]
    return [TextRequest(str(place), (Message("user", text),)) for place, text in enumerate(texts)]


def ours(source: LocalTextGenerator, requests: list[TextRequest], parameters: GenerationParameters) -> int:
    """The number of generated tokens."""
    found = 0
    for answer in source.generate(requests, parameters):
        assert isinstance(answer, TextAnswer)
        found += sum(text.num_tokens or 0 for text in answer.texts)
    return found


def bare(
    model: Any, tokenizer: Any, requests: list[TextRequest], parameters: GenerationParameters, budget: int
) -> int:
    """The same of ``generate``."""
    end = tokenizer.eos_token_id
    pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    rows = sorted(
        (tokenizer(each.messages[0].content)["input_ids"] for each in requests), key=len, reverse=True
    )
    found = 0
    while rows:
        size = max(1, budget // (len(rows[0]) + parameters.max_tokens))
        batch, rows = rows[:size], rows[size:]
        length = len(batch[0])
        ids = torch.tensor([[pad] * (length - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in batch])
        with torch.inference_mode():
            said = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=parameters.max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
            )[:, length:]
        for row in said.tolist():
            found += row.index(end) + 1 if end in row else len(row)
    return found


if __name__ == "__main__":
    main()
