"""Tuning a prompted model beside a bare loop over the same batches, and beside batches padded to the longest.

    python -m benchmarks.prompted data/Goodreads --width 256 --layers 4

The prompts are histories of titles, of every length that the store has, and a candidate. The model is a
random LLaMA with LoRA (r 8, on queries and values). The bare loop is transformers and peft alone: rows of
like length are padded together beforehand, as the program groups them, and the head runs at the answers. The
third side is the same loop with each batch padded to its longest row, as a data collator does. All take turns
in one process and one thread; times are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import TokenBatch
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.histories import Histories
from legorec.data.item_text import ItemText
from legorec.data.store import Store
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.lm.answering import CausalModel
from legorec.lm.length_groups import LengthGroups
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.prompts import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    Prompt,
    PromptStream,
    PromptVocabulary,
    TextSegment,
)
from legorec.prompts.learning import TokenObjective

LR = 1e-4
CHOSEN = LoRA(r=8, alpha=16.0, dropout=0.0)
SEGMENTS = (
    TextSegment("instruction", "Will the user read the book? The user has read: "),
    HistorySegment("history", "{title}"),
    TextSegment("question", " The book: "),
    ItemSegment("target", "{title}"),
    TextSegment("cue", " Answer: "),
    AnswerSegment("answer", "Yes", "No"),
)
Group = tuple[
    Tensor, Tensor, Tensor, Tensor
]  # ids and mask (R, L), places of learned tokens and these tokens


class Epochs:
    """A stream whose epochs are a few batches, so that each turn is one of them."""

    def __init__(self, stream: PromptStream, steps: int) -> None:
        self.stream, self.steps, self.seed = stream, steps, stream.seed

    def epoch(self, number: int) -> range:
        return range(number * self.steps, (number + 1) * self.steps)

    def batch(self, number: int) -> TokenBatch:
        return self.stream.batch(number)


def prompts(store: Store, clicks: int) -> tuple[Prompt, Histories]:
    """Titles in words; the prompt's own words are added to the vocabulary."""
    tokenizer = store.tokenizer("words")
    vocabulary = PromptVocabulary(tokenizer)
    histories = Histories(store.histories, store.spans, clicks)
    items = {"{title}": ItemText("{title}", tokenizer, "words", vocabulary.encode).from_store(store)}
    return Prompt(SEGMENTS, vocabulary, items, histories, max_length=2048), histories


def groups_of(batch: TokenBatch, apart: bool) -> list[Group]:
    """The rows of a batch, padded in groups of like length, or all together."""
    rows = batch.tokens.split(batch.lengths.tolist())
    learned = torch.zeros(len(batch.tokens), dtype=torch.bool)
    learned[batch.learned] = True
    marks = learned.split(batch.lengths.tolist())
    divided = LengthGroups(batch.lengths, torch.device("cpu")).rows if apart else [np.arange(len(rows))]
    found = []
    for some in divided:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([rows[row] for row in some], batch_first=True)
        mask = pad([torch.ones_like(rows[row]) for row in some], batch_first=True)
        wanted = pad([marks[row] for row in some], batch_first=True).flatten().nonzero()[:, 0]
        found.append((ids, mask, wanted - 1, ids.flatten()[wanted]))
    return found


class Bare:
    """A loop of transformers, peft and torch."""

    def __init__(self, checkpoint: Path, batches: Iterator[list[Group]]) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
        base: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        self.head: Any = base.lm_head
        self.model: Any = get_peft_model(base.model, config).train()
        learned = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=LR, weight_decay=0.0)
        self.batches = batches
        self.turn: list[list[Group]] = []

    def advance(self, steps: int) -> None:
        """Make the batches of the next turn; not timed."""
        self.turn = [next(self.batches) for _ in range(steps)]

    def run(self) -> None:
        for groups in self.turn:
            self.optimizer.zero_grad(set_to_none=True)
            losses = []
            for ids, mask, places, wanted in groups:
                given = {} if bool(mask.all()) else {"attention_mask": mask}
                states = self.model(input_ids=ids, use_cache=False, **given).last_hidden_state
                logits = self.head(states.flatten(0, 1)[places])
                losses.append(nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            count = sum(len(wanted) for *_, wanted in groups)
            (torch.stack(losses).sum() / count).backward()
            self.optimizer.step()


def measure(
    store: Store, *, width: int, layers: int, batch_size: int, steps: int, rounds: int, clicks: int
) -> str:
    """A table of tokens a second of processor time, and the ratios."""
    from transformers import LlamaConfig, LlamaForCausalLM

    prompt, histories = prompts(store, clicks)

    def stream() -> PromptStream:
        data = TrainingClicks(store.interactions("train"), histories, len(store.items))
        clicked = ClickStream(data, batch_size=batch_size, num_negatives=1, positives_only=True, seed=1)
        return PromptStream(clicked, prompt)

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=prompt.vocabulary.size,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 64,
            max_position_embeddings=2048,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        model = CausalModel(Pretrained(Path(folder)), prompt.answer_ids, lora=CHOSEN)
        optimizer = make_optimizer(model, lr=LR)
        ours = fit(model, Epochs(stream(), steps), TokenObjective(), optimizer, FitOptions(), Progress())
        bare, padded = (
            Bare(Path(folder), (groups_of(one.batch(number), apart) for number in range(1 << 30)))
            for one, apart in ((stream(), True), (stream(), False))
        )
    counted = stream()
    spent: dict[str, list[float]] = {"legorec": [], "bare loop": [], "padded": []}
    sizes: list[tuple[int, int]] = []
    for turn in range(rounds + 1):  # the first is not counted
        for each in (bare, padded):
            each.advance(steps)
        sides: dict[str, Callable[[], Any]] = {
            "legorec": lambda: next(ours),
            "bare loop": bare.run,
            "padded": padded.run,
        }
        for name, run in sides.items():
            begun = time.process_time()
            run()
            spent[name] += [time.process_time() - begun] if turn else []
        for number in range(turn * steps, (turn + 1) * steps) if turn else ():
            lengths = counted.batch(number).lengths
            sizes.append((int(lengths.sum()), int(lengths.max()) * len(lengths)))
    tokens = sum(real for real, _ in sizes)
    lines = [
        f"{tokens:,} tokens in {len(sizes)} batches of {batch_size} users and two candidates; padded to the "
        f"longest they are {sum(whole for _, whole in sizes) / tokens:.2f} times as many",
        "",
        "| side | tokens/s | legorec is |",
        "|---|---:|---:|",
    ]
    rates = {name: tokens / sum(each) for name, each in spent.items()}
    lines += [
        f"| {name} | {rate:,.0f} | {rates['legorec'] / rate:.2f} times |" for name, rate in rates.items()
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    for name, default in (("width", 256), ("layers", 4), ("batch_size", 16), ("steps", 2), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clicks", type=int, default=50, help="of a history, the latest ones")
    args = vars(parser.parse_args(argv))
    torch.set_num_threads(1)
    print(measure(Store.open(args.pop("store")), **args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
