"""MIND-shaped data of any size, with planted interests, straight into a data store.

    python process/synthetic.py --items 20000 --users 20000 --impressions 100000 --out data/synthetic

Items have a topic, a title of words mostly of that topic, and a popularity (Zipf). Users have up to three
topics of interest. Histories follow interest and popularity. Candidates follow only popularity, and users
click those that suit them best. So a model that reads titles can learn what a user likes, and popularity
alone does worse. Lengths are those of MIND: titles of 10.8 words on average (2 to 24), histories with a
median of 20 and a mean of 33.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.raw.command import open_writer, print_counts, run, store_arguments
from legorec.data.writing.columns import Column
from legorec.data.writing.writer import StoreWriter

NUM_TOPICS, NUM_CATEGORIES, TOPICS_OF_USER = 40, 10, 3
TOPIC_WORDS = 0.7  # share of a title's words that belong to its topic
TASTE = 5.0  # weight of interest against popularity and chance in a click
START, HOUR = 1_573_000_000, 3_600  # the days of MIND
CHUNK = 100_000
SMALLEST = dict.fromkeys(("items", "users", "candidates", "max_history", "vocabulary"), 1)
SMALLEST |= {"impressions": 0, "held_out": 0}
SYLLABLES = [first + second for first in "bdfghklmnprstvz" for second in "aeiou"]


@dataclass(frozen=True)
class World:
    """The planted facts: the topic and popularity of items, the interests of users."""

    item_topic: np.ndarray  # (items,), ascending: items of a topic lie together
    item_name: np.ndarray  # (items,) row of each item in the store, so that rows reveal nothing
    popularity: np.ndarray  # (items,) sums to 1
    user_topics: np.ndarray  # (users, 3)
    user_weights: np.ndarray  # (users, 3), the favourite topic has 1

    @classmethod
    def plant(cls, num_items: int, num_users: int, rng: np.random.Generator) -> World:
        """Draw a world."""
        num_topics = min(NUM_TOPICS, num_items)
        popularity = 1.0 / (rng.permutation(num_items) + 10.0)
        topics = rng.integers(num_topics, size=(num_users, TOPICS_OF_USER))
        weights = rng.dirichlet([1.0] * TOPICS_OF_USER, size=num_users)
        return cls(
            item_topic=np.arange(num_items) * num_topics // num_items,
            item_name=rng.permutation(num_items),
            popularity=popularity / popularity.sum(),
            user_topics=topics,
            user_weights=weights / weights.max(1, keepdims=True),
        )

    def interest(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How much users (R,) like the topics of items (R, K), 0 to 1."""
        topics = self.item_topic[items]
        match = topics[:, :, None] == self.user_topics[users][:, None, :]
        return (match * self.user_weights[users][:, None, :]).max(2)

    def draw_clicks(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item for each entry of ``users``: mostly by interest, then by popularity."""
        ends = np.cumsum(self.popularity)
        share = self.user_weights[users].cumsum(1)
        which = (rng.random(len(users))[:, None] * share[:, -1:] > share[:, :-1]).sum(1)
        topic = self.user_topics[users, which]
        first = np.searchsorted(self.item_topic, topic)
        last = np.searchsorted(self.item_topic, topic, side="right") - 1
        low, high = ends[first] - self.popularity[first], ends[last]
        anything = rng.random(len(users)) < 0.1
        low, high = np.where(anything, 0.0, low), np.where(anything, ends[-1], high)
        return np.minimum(np.searchsorted(ends, low + rng.random(len(users)) * (high - low)), len(ends) - 1)


def zipf(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """``size`` draws from 0 to ``count`` - 1, the first the most frequent."""
    ends = np.cumsum(1.0 / (np.arange(count) + 2.7))
    return np.searchsorted(ends, rng.random(size) * ends[-1])


def words(count: int) -> np.ndarray:
    """``count`` different words that can be pronounced."""
    numbers, parts = np.arange(count), np.array(SYLLABLES)
    base = len(parts)
    made = np.char.add(parts[numbers % base], parts[numbers // base % base])
    while (numbers := numbers // base).max() >= base:
        made = np.char.add(made, parts[numbers // base % base])
    return made


def titles(topic: np.ndarray, vocabulary: np.ndarray, rng: np.random.Generator) -> pl.Series:
    """A title for each topic given: words of the topic among words of all."""
    lengths = np.clip(np.round(rng.normal(10.8, 3.3, len(topic))), 2, 24).astype(np.int64)
    rank = zipf(len(vocabulary), int(lengths.sum()), rng)
    of_topic = rng.random(len(rank)) < TOPIC_WORDS
    # Each topic has its own order of the same words, by a step through the vocabulary that visits each word
    # once.
    step = 2 * np.arange(NUM_TOPICS) + 10_007
    step += (np.gcd(step, len(vocabulary)) != 1) * (1 - step)
    topics = np.repeat(topic, lengths)
    word = np.where(of_topic, (rank * step[topics] + 131 * topics) % len(vocabulary), rank)
    flat = pl.DataFrame({"row": np.repeat(np.arange(len(topic)), lengths), "word": vocabulary[word]})
    return flat.group_by("row", maintain_order=True).agg(pl.col("word").str.join(" "))["word"]


def item_frame(world: World, vocabulary: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """The items in the order of their rows."""
    topic = world.item_topic[np.argsort(world.item_name)]
    return pl.DataFrame(
        {
            "id": pl.Series(np.arange(len(topic))).cast(pl.String).str.pad_start(6, "0"),
            "title": titles(topic, vocabulary, rng),
            "category": pl.Series(topic % NUM_CATEGORIES).cast(pl.String),
            "subcategory": pl.Series(topic).cast(pl.String),
        }
    ).select(
        id="N" + pl.col("id"),
        title="title",
        category="category" + pl.col("category"),
        subcategory="topic" + pl.col("subcategory"),
    )


def history_lengths(num_users: int, longest: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The number of clicks of every user before training, and in all."""
    lengths = np.round(rng.lognormal(np.log(20), 1.0, num_users)).astype(np.int64)
    lengths[rng.random(num_users) < 0.02] = 0
    lengths = np.minimum(lengths, longest)
    return lengths, lengths + rng.integers(0, 4, num_users)


def draw_histories(world: World, lengths: np.ndarray, rng: np.random.Generator) -> Iterator[Ragged]:
    """The clicks of every user, as rows of the store, in chunks of users."""
    for start in range(0, len(lengths), CHUNK):
        users = np.arange(start, min(start + CHUNK, len(lengths)))
        drawn = world.draw_clicks(np.repeat(users, lengths[users]), rng)
        yield Ragged.from_lengths(world.item_name[drawn].astype(np.int32), lengths[users])


def add_impressions(
    writer: StoreWriter,
    world: World,
    split: str,
    count: int,
    num_candidates: int,
    stops: np.ndarray,
    first_time: int,
    rng: np.random.Generator,
) -> None:
    """Draw one split in chunks: candidates by popularity, clicks by interest."""
    ends = np.cumsum(world.popularity)
    for start in writer.progress.track(range(0, count, CHUNK), f"drawing {split}"):
        size = min(CHUNK, count - start)
        users = zipf(len(stops) + 50, size, rng) % len(stops)
        # Flattened popularity: shown items are newer and more even than those clicked over the years.
        shown = np.searchsorted(ends, rng.random((size, num_candidates)))
        shown = np.where(rng.random(shown.shape) < 0.5, shown, rng.integers(len(ends), size=shown.shape))
        shown = distinct(np.minimum(shown, len(ends) - 1), len(ends), rng)
        appeal = TASTE * world.interest(users, shown) + 0.3 * np.log(world.popularity[shown])
        appeal += rng.gumbel(size=shown.shape)
        place = np.argsort(np.argsort(-appeal, axis=1), axis=1)
        clicked = place < 1 + (rng.random((size, 1)) < 0.2) * (num_candidates > 2)
        order = first_time + np.sort(rng.integers(0, 24 * HOUR, size)) + start
        candidates = Ragged.from_lengths(
            world.item_name[shown].astype(np.int32).reshape(-1), np.full(size, num_candidates)
        )
        labels = clicked.astype(np.uint8).reshape(-1)
        writer.windows(split, users, np.zeros(size, np.int64), stops[users], candidates, labels, order)


def distinct(shown: np.ndarray, num_items: int, rng: np.random.Generator) -> np.ndarray:
    """The same rows without repeated items: a repeated one is drawn again, uniformly."""
    open_rows = np.arange(len(shown))
    while len(open_rows):
        part = shown[open_rows]
        order = np.argsort(part, axis=1, kind="stable")
        ordered = np.take_along_axis(part, order, axis=1)
        row, column = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
        part[row, order[row, column + 1]] = rng.integers(num_items, size=len(row))
        shown[open_rows] = part
        open_rows = open_rows[np.unique(row)]
    return shown


def write(writer: StoreWriter, args: argparse.Namespace) -> None:
    """Everything into the store; the items, users and each split have draws of their own."""
    draws = [np.random.default_rng([args.seed, part]) for part in range(6)]
    world = World.plant(args.items, args.users, draws[0])
    writer.items(
        item_frame(world, words(args.vocabulary), draws[1]),
        [Column("title", "text"), Column("category", "category"), Column("subcategory", "category")],
    )
    ids = pl.Series("id", np.arange(args.users)).cast(pl.String).str.pad_start(6, "0")
    writer.users(pl.DataFrame({"id": "U" + ids}))
    before, whole = history_lengths(args.users, args.max_history, draws[2])
    writer.sequences(draw_histories(world, whole, draws[2]))
    held_out = args.held_out if args.held_out is not None else max(1, args.impressions // 10)
    splits = [("train", args.impressions, before), ("dev", held_out, whole), ("test", held_out, whole)]
    for number, (split, count, visible) in enumerate(splits):
        day = START + number * 24 * HOUR
        add_impressions(writer, world, split, count, args.candidates, visible, day, draws[3 + number])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = store_arguments(__doc__)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--impressions", type=int, default=20_000, help="of the train split")
    parser.add_argument(
        "--held_out", type=int, help="impressions of dev and of test (default: a tenth of train)"
    )
    parser.add_argument("--candidates", type=int, default=20, help="of each impression")
    parser.add_argument("--max_history", type=int, default=400)
    parser.add_argument("--vocabulary", type=int, default=20_000, help="number of different words")
    args = parser.parse_args(arguments)
    for name, least in SMALLEST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name} must be at least {least}, got {value}")
    if args.candidates > args.items:
        parser.error(f"--candidates must be at most --items ({args.items}), got {args.candidates}")
    settings = ("items", "users", "impressions", "held_out", "candidates", "max_history", "vocabulary")
    with open_writer(args, "synthetic", *settings) as writer:
        write(writer, args)
    print_counts(args.out)


if __name__ == "__main__":
    run(main)
