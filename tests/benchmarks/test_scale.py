"""What grows with the data: memory does a little, what an example costs does not."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest

from benchmarks import scale
from benchmarks.scale_parts import Memory, watched
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.data.writing.writer import StoreWriter
from tests.support.small_store import files

MIB = 1 << 20
FACTOR = 8
# Small chunks, so that what one needs is small beside the data; the smaller store fills one, too.
WRITE = """
import sys
import process.synthetic
from legorec.data.writing import arrays, spans
process.synthetic.CHUNK, arrays.BLOCK, spans.BLOCK = 2_000, 1 << 15, 1 << 15
process.synthetic.main(sys.argv[1:])
"""
# Every candidate is an example: the order of a pass is then the largest array that training makes.
TRAIN = """
import json, sys
from pathlib import Path
from benchmarks.memory import resident
from legorec.data import ragged
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.histories import Histories
from legorec.data.store import Store

def train(path):
    store = Store.open(path)
    histories = Histories(store.histories, store.spans, 50)
    clicks = TrainingClicks(store.interactions("train"), histories, len(store.items))
    stream = ClickStream(clicks, batch_size=64, num_negatives=4, positives_only=False)
    for number in (0, 1, stream.num_batches):
        stream.batch(number)
    return len(clicks.known.keys), stream.num_examples

ragged.BLOCK = 1 << 16
train(Path(sys.argv[1]))
before = resident("VmHWM")
clicks, examples = train(Path(sys.argv[2]))
print(json.dumps({"growth": resident("VmHWM") - before, "clicks": clicks, "examples": examples}))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell of memory"),
]


@dataclass(frozen=True)
class Written:
    path: Path
    memory: Memory  # of the process that wrote it

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Written, Written]:
    """Generated data, and as many items with eight times the users and impressions."""
    folder = tmp_path_factory.mktemp("scale")
    found = []
    for times in (1, FACTOR):
        path = folder / str(times)
        size = {"users": 2_500 * times, "items": 10_000, "impressions": 75_000 * times, "held_out": 1_000}
        flags = [part for name, count in size.items() for part in (f"--{name}", str(count))]
        _, memory = watched([sys.executable, "-c", WRITE, *flags, "--out", str(path)])
        found.append(Written(path, memory))
    return found[0], found[1]


def test_processing_streams(stores: tuple[Written, Written]) -> None:
    small, large = stores
    more_data = (large.bytes - small.bytes) / MIB
    assert more_data > 60
    assert large.memory.peak - small.memory.peak < more_data / 4
    assert large.memory.peak < 256, "interpreter and libraries take some 100 MiB, a chunk little"


def test_training_takes_four_bytes_an_example(stores: tuple[Written, Written]) -> None:
    small, large = stores
    said, _ = watched([sys.executable, "-c", TRAIN, str(small.path), str(large.path)])
    found = json.loads(said)
    assert found["examples"] == 20 * FACTOR * 75_000
    # The store is mapped; known clicks are there twice while they are sorted.
    assert found["growth"] < large.bytes + 4 * found["examples"] + 2 * 8 * found["clicks"] + 24 * MIB


def test_a_batch_costs_the_same(stores: tuple[Written, Written]) -> None:
    streams = []
    for each in stores:
        store = Store.open(each.path)
        histories = Histories(store.histories, store.spans, 50)
        clicks = TrainingClicks(store.interactions("train"), histories, len(store.items))
        streams.append(ClickStream(clicks, batch_size=64, num_negatives=4, positives_only=True))
        streams[-1].batch(0)
    ratios = []
    for turn in range(20):
        spent = []
        for stream in streams:
            begin = time.process_time()
            for number in range(20 * turn, 20 * (turn + 1)):
                stream.batch(number)
            spent.append(time.process_time() - begin)
        ratios.append(spent[1] / spent[0])
    assert median(ratios) < 2, ratios


def test_r20_chunks_and_blocks_change_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    lengths = rng.integers(0, 30, 3_000)
    clicks = Ragged.from_lengths(rng.integers(0, 500, int(lengths.sum())), lengths)
    user = rng.integers(0, 3_000, 100_000)
    start, stop = np.sort(rng.integers(0, lengths[user][:, None] + 1, (len(user), 2)), axis=1).T
    shown = Ragged.from_lengths(rng.integers(0, 500, 5 * len(user)), np.full(len(user), 5))
    labels = (rng.random(5 * len(user)) < 0.2).astype(np.uint8)
    ids = pl.Series(np.arange(len(user))).cast(pl.String)

    def write(path: Path, size: int) -> None:
        with StoreWriter(path, {}) as writer:
            writer.items(pl.DataFrame({"id": np.arange(500)}))
            writer.users(pl.DataFrame({"id": np.arange(3_000)}))
            starts = range(0, 3_000, size)
            writer.sequences(clicks.take(np.arange(n, min(n + size, 3_000))) for n in starts)
            for first in range(0, len(user), size):
                some = np.arange(first, min(first + size, len(user)))
                part = (user[some], start[some], stop[some], shown.take(some))
                of_part = labels[5 * some[0] : 5 * (some[-1] + 1)]
                writer.windows("train", *part, of_part, time=some, ids=ids[some])

    write(tmp_path / "one chunk", len(user))
    blocks = [patch(f"legorec.data.writing.{name}.BLOCK", 1_000) for name in ("arrays", "spans")]
    with blocks[0], blocks[1]:
        write(tmp_path / "chunks", 700)
    assert files(tmp_path / "one chunk") == files(tmp_path / "chunks")


def test_the_benchmark_runs_and_finds_its_stores_again(tmp_path: Path) -> None:
    size = ("--users", "300", "--items", "300", "--impressions", "600")
    short = ("--steps", "2", "--rounds", "1", "--ranked", "50", "--threads", "1")
    command = [sys.executable, "-m", "benchmarks.scale", *size, *short, "--folder", str(tmp_path)]
    said, _ = watched(command)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if "|" in line]
    assert rows[0][1:4] == ["whole", "tenth of users and impressions", "tenth of all"]
    assert rows[2][1:4] == ["300, 300", "30, 300", "30, 30"] and {len(row) for row in rows} == {5}
    ratios = [row[2:4] for row in rows if row[0] == "- whole : tenth"]
    assert len(ratios) == 2 and all(float(each) > 0 for pair in ratios for each in pair)
    assert sum(row[0].endswith("memory, MiB") and "(" in row[1] for row in rows) == 3
    with patch("benchmarks.scale.watched", side_effect=AssertionError("written again")):
        for each in scale.stores(tmp_path, 300, 300, 600):
            scale.write(each)
            assert each.memory["write"].peak > each.memory["write"].files > 0
