"""Writing and opening a data store, beside UniTok's own ``tokenize`` and a bare batched tokenizer.

    python -m benchmarks.store

UniTok walks the frame row by row, so it is timed on a sample and extrapolated linearly.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.writing.columns import Column
from legorec.data.writing.progress import Progress
from legorec.data.writing.tables import write_text
from legorec.data.writing.writer import StoreWriter

CANDIDATES = 20


def seconds(work: Callable[[], object], now: Callable[[], float] = time.perf_counter) -> float:
    """How long something takes, once."""
    start = now()
    work()
    return now() - start


def texts(count: int, mean_words: int, rng: np.random.Generator) -> list[str]:
    """Texts of Zipf-distributed words."""
    rank = np.minimum(rng.zipf(1.3, (count, mean_words)), 20_000)
    return [" ".join(f"wo{number:x}rd" for number in row) for row in rank.tolist()]


def raw_data(items: int, users: int, rows: int, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """The tables of a reader in memory: items, users with histories as text, one row per candidate."""
    lengths = np.clip(rng.lognormal(np.log(20), 1.0, users).astype(np.int64), 1, 400)
    clicked = pl.Series(rng.integers(0, items, int(lengths.sum()))).cast(pl.String)
    owner = pl.Series(np.repeat(np.arange(users), lengths))
    lists = pl.DataFrame({"owner": owner, "item": "N" + clicked}).group_by("owner", maintain_order=True)
    user_ids = "U" + pl.Series(np.arange(users)).cast(pl.String)
    history = lists.agg(pl.col("item").str.join(" "))["item"]
    impression = np.arange(rows) // CANDIDATES
    shown_to = rng.integers(0, users, int(impression[-1]) + 1)[impression]
    shown = {
        "impression": pl.Series(impression),
        "user": user_ids.gather(shown_to),
        "item": "N" + pl.Series(rng.integers(0, items, rows)).cast(pl.String),
        "click": pl.Series((np.arange(rows) % CANDIDATES == 0).astype(np.uint8)),
    }
    names = "N" + pl.Series(np.arange(items)).cast(pl.String)
    return {
        "items": pl.DataFrame({"id": names, "title": texts(items, 11, rng)}),
        "users": pl.DataFrame({"id": user_ids, "history": history}),
        "interactions": pl.DataFrame(shown),
    }


def write_store(path: Path, raw: dict[str, pl.DataFrame], choices: Sequence[TokenizerChoice] = ()) -> None:
    """From frames of raw ids to a complete store, with digests and flushed files."""
    with StoreWriter(path, {"processor": "benchmark"}, choices) as writer:
        writer.items(raw["items"], [Column("title", "text")] if choices else [])
        writer.users(raw["users"])
        lists = raw["interactions"].group_by("impression", "user", maintain_order=True)
        frame = lists.agg(pl.col("item").alias("candidates"), pl.col("click").alias("labels"))
        histories = raw["users"].select(user="id", history=pl.col("history").str.split(" "))
        frame = frame.join(histories, on="user", how="left", maintain_order="left")
        writer.impressions("train", frame.rename({"impression": "id"}))


def unitok_seconds(
    raw: dict[str, pl.DataFrame], sample: int, now: Callable[[], float] = time.perf_counter
) -> float:
    """UniTok's ``tokenize`` of the user and interaction tables, extrapolated from ``sample`` rows of each.

    The time for a single row is counted once per table, however long: UniTok prints lines, and looks through
    the loaded modules for each, which takes a tenth of a second or more.
    """
    total = 0.0
    for name, columns in (
        ("users", [("id", "user", None), ("history", "item", " ")]),
        ("interactions", [("index", "row", None), ("user", "user", None), ("item", "item", None)]),
    ):
        columns += [("click", "click", None)] if name == "interactions" else []
        once, spent = (_tokenizing_seconds(raw[name].head(rows), columns, now) for rows in (1, sample))
        total += once + (spent - once) * (len(raw[name]) - 1) / (sample - 1)
    return total


def _tokenizing_seconds(
    rows: pl.DataFrame, columns: Sequence[tuple[str, str, str | None]], now: Callable[[], float]
) -> float:
    """UniTok's ``tokenize`` of a table; columns are (name, vocabulary, separator), the first is the key."""
    from pandas import DataFrame
    from unitok import EntityTokenizer, SplitTokenizer, UniTok, Vocab

    frame = DataFrame(rows.with_row_index("index").to_dict(as_series=False))
    with UniTok() as table:
        for place, (column, vocabulary, separator) in enumerate(columns):
            vocab = Vocab(name=vocabulary)
            tokenizer = (
                SplitTokenizer(vocab=vocab, sep=separator) if separator else EntityTokenizer(vocab=vocab)
            )
            table.add_feature(tokenizer=tokenizer, column=column, name=column, key=place == 0)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return seconds(lambda: table.tokenize(frame), now)


def tokenizers_of(lines: list[str]) -> dict[str, Tokenizer]:
    """A word tokenizer as in a store, and a WordPiece one as BERT's."""
    piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (not a password)
    piece.normalizer, piece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=8_000, special_tokens=["[UNK]"], show_progress=False)
    piece.train_from_iterator(lines, trainer)
    return {"words": TokenizerChoice("words").build(iter(lines)), "wordpiece": piece}


def text_ratios(folder: Path, column: pl.Series, rounds: int = 5) -> dict[str, float]:
    """Time to tokenize and write a text column, against a bare batched call; medians of turns."""
    lines = column.to_list()
    result = {}
    for name, tokenizer in tokenizers_of(lines).items():
        bare, ours = [], []
        for _ in range(rounds):
            bare.append(
                seconds(lambda one=tokenizer: one.encode_batch_fast(lines, add_special_tokens=False))  # type: ignore[misc]
            )
            ours.append(
                seconds(
                    lambda key=name, one=tokenizer: write_text(
                        folder, "title", column, {key: one}, Progress()
                    )  # type: ignore[misc]
                )
            )
        result[f"bare {name} tokenizer, s"] = float(np.median(bare))
        result[f"item text by {name}, s"] = float(np.median(ours))
        result[f"ratio to the bare {name} tokenizer"] = float(np.median(ours) / np.median(bare))
    return result


def opening_seconds(path: Path) -> dict[str, float]:
    """Opening with every digest computed, and with digests remembered."""
    return {
        "opening, every file read, s": seconds(lambda: Store.open(path, verify="full")),
        "opening, digests remembered, s": min(seconds(lambda: Store.open(path)) for _ in range(3)),
    }


def measure(
    items: int = 50_000, users: int = 50_000, rows: int = 2_000_000, sample: int = 20_000
) -> dict[str, float]:
    """All figures, by title."""
    raw = raw_data(items, users, rows, np.random.default_rng(2023))
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        tables = Path(scratch) / "tables"
        figures["user and interaction tables, s"] = seconds(lambda: write_store(tables, raw))
        figures["UniTok's tokenize, s (extrapolated)"] = unitok_seconds(raw, sample)
        figures["ratio to UniTok"] = (
            figures["UniTok's tokenize, s (extrapolated)"] / figures["user and interaction tables, s"]
        )
        figures |= text_ratios(Path(scratch), raw["items"]["title"])
        whole = Path(scratch) / "whole"
        write_store(whole, raw, [TokenizerChoice("words")])
        figures["size, MiB"] = sum(f.stat().st_size for f in whole.rglob("*") if f.is_file()) / 2**20
        figures |= opening_seconds(whole)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--sample", type=int, default=20_000, help="rows that UniTok is timed on")
    options = parser.parse_args()
    print("| | measured |\n|---|---|")
    for name, value in measure(**vars(options)).items():
        print(f"| {name} | {value:.3g} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
