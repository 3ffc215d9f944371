"""Recommending for many at once against one call a history, and over HTTP against calls in the process.

    OMP_NUM_THREADS=1 python -m benchmarks.serving --model lego_nrms --items 20000 --histories 100000

A store is generated and a model trained on it for one epoch, since its speed does not depend on what it has
learned. Batches are measured in CPU time of the process, the service by the clock, with clients in a process
of their own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import legorec
from legorec.service.answers import Answers
from legorec.service.http import Service

SINGLE = 200  # histories that are asked for one call each


def recommender(folder: Path, options: argparse.Namespace) -> Any:
    """A trained model over a generated catalogue."""
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(500)]
    items = {
        "item": [f"i{number}" for number in range(options.items)],
        "title": [" ".join(rng.choice(words, 6)) for _ in range(options.items)],
        "topic": [f"t{number % 20}" for number in range(options.items)],
    }
    user = np.repeat(np.arange(200), 12)
    clicks = {
        "user": [f"u{each}" for each in user],
        "item": [f"i{each}" for each in rng.integers(0, options.items, len(user))],
        "time": list(range(len(user))),
    }
    store = legorec.Store.from_frames(
        items, clicks, folder / "store", text="title", category="topic", time="time", num_negatives=4
    )
    run = legorec.train(store, options.model, epoch=1, batch_size=64, runs=str(folder / "runs"))
    return legorec.load(run.path, device="cpu")


def some_histories(options: argparse.Namespace, count: int) -> list[list[str]]:
    """Histories of 1 to ``--longest`` clicks."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, options.longest + 1, count)
    return [[f"i{each}" for each in rng.integers(0, options.items, length)] for length in lengths]


def batches(trained: Any, options: argparse.Namespace) -> list[str]:
    """Milliseconds a history: one call each, a list of lists, and a frame."""
    import polars as pl

    histories = some_histories(options, options.histories)
    single = histories[:SINGLE]
    trained.recommend(single[0])
    begin = time.process_time()
    alone = [trained.recommend(each) for each in single]
    one = (time.process_time() - begin) / len(single)
    begin = time.process_time()
    found = trained.recommend(histories)
    many = (time.process_time() - begin) / len(histories)
    frame = pl.DataFrame({"history": histories})
    begin = time.process_time()
    trained.recommend(frame)
    table = (time.process_time() - begin) / len(histories)
    for left, right in zip(alone, found, strict=False):
        np.testing.assert_allclose([e.score for e in left], [e.score for e in right], atol=1e-5)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        f"| one call a history | {one * 1e3:.3f} | 1 |",
        f"| {len(histories):,} histories, lists | {many * 1e3:.3f} | {one / many:.1f} |",
        f"| {len(histories):,} histories, a frame | {table * 1e3:.3f} | {one / table:.1f} |",
        "",
        f"peak memory {peak:,.0f} MiB, of which all histories are a part",
    ]


def clients(port: int, histories: Sequence[Sequence[str]], count: int, seconds: float, told: Any) -> None:
    """Ask from ``count`` threads for some seconds; tells the answers and the waiting times."""
    waits: list[float] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        place, end = number, time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            body = json.dumps({"history": histories[place % len(histories)]})
            connection.request("POST", "/recommend", body)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            waits.append(time.perf_counter() - begin)
            place += count

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    begin = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    told.put((len(waits) / (time.perf_counter() - begin), *np.percentile(waits, [50, 99]).tolist()))


def served(trained: Any, options: argparse.Namespace) -> list[str]:
    """Answers a second in the process, one call each, and over HTTP."""
    histories = some_histories(options, 2000)
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < options.seconds:
        trained.recommend(histories[calls % len(histories)])
        calls += 1
    inside = calls / (time.perf_counter() - begin)
    service = Service(Answers(trained), ("127.0.0.1", 0))
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    asked = (service.server_port, histories, options.clients, options.seconds, told)
    asking = context.Process(target=clients, args=asked)
    asking.start()
    rate, middle, late = told.get()
    asking.join()
    service.stop()
    thread.join()
    return [
        f"in the process, one call each: {inside:,.0f} answers a second",
        f"over HTTP, {options.clients} clients: {rate:,.0f} answers a second, {rate / inside:.2f} of it; "
        f"an answer takes {middle * 1e3:.0f} ms, 1 of 100 more than {late * 1e3:.0f} ms",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="lego_nrms")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--longest", type=int, default=50)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of the service")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trained = recommender(Path(folder), options)
        lines = [f"{options.model}, {options.items:,} items, histories of 1 to {options.longest} clicks", ""]
        lines += ["| | ms of CPU a history | times |", "|---|---|---|", *batches(trained, options), ""]
        print("\n".join([*lines, *served(trained, options)]))


if __name__ == "__main__":
    main()
