"""Response times of single requests, as a service would answer them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from legorec.batch import ClickBatch
from legorec.data.collate import collate
from legorec.engine.progress import bar
from legorec.engine.rank import evaluating
from legorec.nn.device import module_device
from legorec.nn.sending import on
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.served import Request, Ways, served
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.figures import print_figures
from legorec.recipes.outputs.session import Session, open_session
from legorec.recommender import Recommender
from legorec.settings.exp_layer import LatencySettings

if TYPE_CHECKING:
    from legorec.settings import Settings

WARM_UP = 10  # requests that are answered and not timed


def latency(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Time ``exp.latency.requests`` impressions of the test split, one by one; returns the figures.

    A request is a history and ``exp.latency.candidates`` candidates, and its answer their scores on the host,
    once in each way that the model's family has: from item vectors that were computed beforehand and with the
    request's own items encoded on the spot, or from prompts. With several processes the first one works and
    the others wait.

    Raises:
        ValueError: something the user can mend.
        Interrupted: the process was asked to stop; nothing is kept.
    """
    asked = settings.exp.latency or LatencySettings()
    with processes.agreeing():
        device = choose_device(settings.device, processes)
        found = served(settings, device, ["test"])
        requests = draw_requests(found.data, asked.requests, asked.candidates, settings.seed)
        run, epoch = settings.exp.load, settings.exp.load_epoch
        loaded = found.load(Path(run), epoch) if run else None
    with open_session(settings, processes) as session:
        session.log(f"{session.folder.path}  on {device}, {torch.get_num_threads()} threads")
        session.log(f"weights of {loaded}" if loaded else "untrained weights: no --load was given")
        for line in found.said:
            session.log(line)
        ways = found.ways(session)

        def timed(title: str, reply: Callable[[Request], np.ndarray]) -> dict[str, float]:
            with evaluating(found.model, bf16=settings.exp.policy.precision == "bf16"):
                return _timed(title.replace("_", " "), reply, requests, device, session)

        figures = {
            "trained": loaded is not None,
            "device": str(device),
            "threads": torch.get_num_threads(),
            "requests": len(requests),
            "candidates": asked.candidates,
            **ways.figures,
        }
        figures |= {name: timed(name, reply) for name, reply in ways.answers.items()}
        measured = processes.from_first({"latency": figures})
        if processes.is_first:
            show(settings, figures, ways)
        session.folder.write_metrics(measured)
        session.log(f"wrote {session.folder.metrics_file}")
        return measured


def draw_requests(data: Data, count: int, num_candidates: int, seed: int) -> list[Request]:
    """Impressions of the test split, in an order drawn from the seed; again from the first where too few.

    An impression's own candidates are filled up with drawn items, or cut, to ``num_candidates``.

    Raises:
        ValueError: the split is empty, or the store has fewer items than candidates are asked for.
    """
    impressions = data.impressions("test")
    if not len(impressions):
        raise ValueError(f"{data.store.path}: split '{data.settings.splits.test}' holds no impression")
    if num_candidates > data.num_real:
        raise ValueError(
            f"`exp.latency.candidates` must be at most the {data.num_real} items of {data.store.path}, got "
            f"{num_candidates}"
        )
    rng = np.random.default_rng(seed)
    rows = np.resize(rng.permutation(len(impressions)), count)
    interactions, requests = impressions.interactions, []
    for row in rows.tolist():
        history, mask = data.histories.padded(interactions.span[[row]])
        own = np.unique(interactions.candidates[row])[:num_candidates]
        drawn = rng.choice(data.num_real, num_candidates, replace=False)
        others = drawn[~np.isin(drawn, own)][: num_candidates - len(own)]
        candidates = np.concatenate([own, others]).astype(np.int64)
        user, span = int(interactions.user[row]), int(interactions.span[row])
        requests.append(Request(history[mask], candidates, user, span))
    return requests


def batch_of(request: Request) -> ClickBatch:
    """A request as a batch of one example, on the host."""
    history, candidates, user, span = request
    clicked = np.ones((1, max(1, len(history))), dtype=bool) & bool(len(history))
    shown = history[None] if len(history) else np.zeros((1, 1), dtype=np.int64)
    everywhere = np.ones((1, len(candidates)), dtype=bool)
    return collate(
        shown,
        clicked,
        candidates[None],
        everywhere,
        np.zeros(everywhere.shape),
        user=np.array([user]),
        group=np.zeros(1, dtype=np.int64),
        span=np.array([span]),
    )


def answer(model: Recommender, request: Request, item_table: Tensor | None = None) -> np.ndarray:
    """The scores of a request's candidates, from the items' vectors if they are at hand."""
    scores = model(batch_of(request).to(module_device(model)), item_table)
    return scores[0].cpu().numpy()


def _timed(
    title: str,
    reply: Callable[[Request], Any],
    requests: Sequence[Request],
    device: torch.device,
    session: Session,
) -> dict[str, float]:
    """Milliseconds of one request: median, 95th and 99th percentile; and how many a second, one by one."""
    times = []
    with bar(title, len(requests), shown=session.processes.is_first) as advance:
        for number, request in enumerate([*requests[:WARM_UP], *requests]):
            if session.processes.is_first:
                wait_for(device)
                start = time.perf_counter()
                reply(request)
                wait_for(device)
                times.append(time.perf_counter() - start)
            advance(max(0, number + 1 - WARM_UP), len(requests))
            session.stop.check()
    if not times:
        return {}
    milliseconds = 1000 * np.array(times[-len(requests) :])
    shares = {"median_ms": 50, "p95_ms": 95, "p99_ms": 99}
    found = {name: float(np.percentile(milliseconds, share)) for name, share in shares.items()}
    return found | {"requests_per_second": 1000 * len(requests) / float(milliseconds.sum())}


def wait_for(device: torch.device) -> None:
    """Wait until an accelerator has finished."""
    if device.type != "cpu":
        with on(device):
            torch.get_device_module(device).synchronize()


def show(settings: Settings, figures: dict[str, Any], ways: Ways) -> None:
    """Print the figures as a table."""
    print_figures(
        f"{settings.model.name}: a request of {figures['candidates']} candidates on {figures['device']}",
        ("", "median ms", "95 % ms", "99 % ms", "requests/s"),
        [
            (name.replace("_", " "), *(f"{value:,.3f}" for value in list(each.values())[:3]),
             f"{each['requests_per_second']:,.1f}")
            for name, each in ((name, figures[name]) for name in ways.answers)
        ],
        f"{figures['requests']} requests of {settings.data.name} one by one, {figures['threads']} threads; "
        f"{'trained' if figures['trained'] else 'untrained'} weights{ways.said}",
    )  # fmt: skip
