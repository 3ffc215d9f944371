"""A small store of marked clicks, a prompt over it, and tiny causal models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.item_text import ItemText
from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter
from legorec.prompts import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    OfItems,
    Prompt,
    PromptVocabulary,
    TextSegment,
)
from tests.support.runs import ROOT

SMALL = {"hidden_size": 8, "num_layers": 1, "heads": 2, "batch_size": 16, "epoch": 2, "lr": 1e-2}
TITLES = [f"film {'very ' * (number % 4)}{chr(97 + number)}" for number in range(20)]
SEGMENTS = (
    TextSegment("instruction", "Will the user like it? Liked: "),
    HistorySegment("liked", '"{title}"', marks=("liked",), empty="none"),
    TextSegment("between", " Disliked: "),
    HistorySegment("disliked", '"{title}"', marks=("disliked",), empty="none"),
    TextSegment("question", " Candidate: "),
    ItemSegment("target", '"{title}"'),
    TextSegment("cue", " Answer: "),
    AnswerSegment("answer", "Yes .", "No ."),
)


def marked_store(path: Path, seed: int = 0, num_users: int = 12, examples: int = 1) -> Store:
    """Users with marked clicks, of which the last ones are candidates of their own.

    Args:
        examples: of each user in each split.
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(5, 10, num_users) + 2 * (examples - 1)
    clicks = Ragged.from_lengths(rng.integers(0, len(TITLES), counts.sum()).astype(np.int32), counts)
    marks = Ragged.from_lengths(rng.integers(0, 2, counts.sum()).astype(np.uint8), counts)
    with StoreWriter(path, {"processor": "marked"}, [TokenizerChoice("words")]) as writer:
        ids = [str(number) for number in range(len(TITLES))]
        items = pl.DataFrame({"id": ids, "title": TITLES, "name": TITLES})
        writer.items(items, [Column("title", "text"), Column("name", "text")])
        writer.users(pl.DataFrame({"id": [str(number) for number in range(num_users)]}))
        writer.sequences(clicks, (marks, ("disliked", "liked")))
        user = np.arange(num_users).repeat(examples)
        back = np.tile(np.arange(examples), num_users) + 1
        for split, more in (("train", examples), ("dev", 0), ("test", 0)):
            place = counts[user] - back - more
            rows = clicks.offsets[user] + place
            candidates = Ragged.from_lengths(clicks.values[rows], np.ones(len(rows), dtype=np.int64))
            writer.windows(split, user, np.zeros(len(rows), np.int64), place, candidates, marks.values[rows])
    return Store.open(path)


def prompt_over(
    store: Store, segments: tuple = SEGMENTS, tokens: str = "words", **settings: object
) -> Prompt:
    """A prompt over the words of a store, or other tokens."""
    tokenizer = store.tokenizer(tokens)
    templates = {part.template for part in segments if isinstance(part, OfItems)}
    vocabulary = PromptVocabulary(tokenizer)
    items = {
        each: ItemText(each, tokenizer, tokens, vocabulary.encode).from_store(store)
        for each in sorted(templates)
    }
    return Prompt(
        segments,
        vocabulary,
        items,
        Histories(store.histories, store.spans),
        marks=store.marks,
        mark_names=store.mark_names,
        **settings,
    )


def impressions(store: Store, split: str = "test", group_by: str = "user") -> Impressions:
    """A split, to be ranked."""
    histories = Histories(store.histories, store.spans)
    return Impressions(store.interactions(split), histories, len(store.items), group_by)


def arguments(store: Path, runs: Path, /, exp: str = "tallrec", **flags: object) -> list[str]:
    """The command line of a small run; ``data__store`` stands for the dotted ``--data.store``."""
    files = {"data": "data/tallrec-movie", "model": "model/tallrec-scratch", "exp": f"exp/{exp}"}
    given = {name: f"{ROOT}/config/{file}.yaml" for name, file in files.items()}
    given |= {"data__store": store, "runs": runs, "device": "cpu", "tokenizer": "words"}
    given |= SMALL | flags
    return [part for key, value in given.items() for part in (f"--{key.replace('__', '.')}", said(value))]


def said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def click_stream(store: Store, batch_size: int = 12) -> ClickStream:
    """Every example of the training split, with its label."""
    clicks = TrainingClicks(
        store.interactions("train"), Histories(store.histories, store.spans), len(store.items)
    )
    return ClickStream(clicks, batch_size=batch_size, num_negatives=0, positives_only=False)
