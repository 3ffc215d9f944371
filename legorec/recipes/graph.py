"""User encoder and predictor as one graph for a server without legorec: ``torch.export`` or ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legorec.batch import Clicks
from legorec.files.whole import written_whole
from legorec.nn.graphs import taking_a_graph
from legorec.recommender import Recommender

PROGRAM, ONNX = ".pt2", ".onnx"
INPUTS = ("clicks", "mask", "candidates")
TRIALS = 100
TOLERANCE = 1e-5
SIZES = (5, 12, 20)  # the largest batch, history and number of candidates that are tried

Run = Callable[[Tensor, Tensor, Tensor], Tensor]


class Scoring(nn.Module):
    """Scores (B, K) from clicks (B, H, D), their mask (B, H) and candidates (B, K, D).

    Raises:
        ValueError: the model reads more of clicks or users than that.
    """

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        if model.reads_rows or model.reads_states:
            raise ValueError(
                "a brick of this model reads rows or tokens of items; a graph has their vectors alone"
            )
        if model.reads_user:
            raise ValueError("this model reads who the user is; a graph has clicks alone")
        self.model = model

    def forward(self, clicks: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        """(B, K)"""
        given = Clicks(clicks, mask, None, mask.sum(1) * 0 - 1)
        users = self.model.encode_users(given)
        there = torch.ones_like(candidates[:, :, 0], dtype=torch.bool)
        return self.model.score(users, candidates, given, None, there)


def save_graph(model: Recommender, path: Path, width: int) -> None:
    """Write the graph, once it agrees with the model on other shapes and masks than it was taken from.

    Args:
        path: ends in ``.pt2`` (``torch.export.load``) or ``.onnx``.
        width: of the item vectors.

    Raises:
        ValueError: another ending, a model that reads more than a graph has, one whose graph keeps a size or
            disagrees with it, or packages that ONNX needs and that are not there.
        OSError: the disk is full, or may not be written.
    """
    if path.suffix not in (PROGRAM, ONNX):
        raise ValueError(f"{path}: a graph is a file that ends in {PROGRAM} or {ONNX}")
    scoring = Scoring(model).eval()
    program = _taken(scoring, width)
    with written_whole(path) as temporary, _silent():
        if path.suffix == PROGRAM:
            with open(temporary, "wb") as file:
                torch.export.save(program, file)
            run = program.module()
        else:
            run = _as_onnx(program, temporary)
        check(scoring, run, width)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's warnings of what is not installed and not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def _taken(scoring: Scoring, width: int) -> Any:
    batch, history, shown = (torch.export.Dim(name) for name in ("batch", "history", "shown"))
    example = next(_trials(width, sizes=((3, 7, 4),)))
    shapes = ({0: batch, 1: history}, {0: batch, 1: history}, {0: batch, 1: shown})
    try:
        with taking_a_graph(), torch.no_grad():
            return torch.export.export(scoring, example, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever of its many kinds: the model cannot be taken with open sizes
        said = str(error).strip().partition("\n")[0]
        bricks = f"{type(scoring.model.user_encoder).__name__} and {type(scoring.model.predictor).__name__}"
        raise ValueError(
            f"{bricks} cannot be written as a graph with any number of clicks: {said}"
        ) from error


def _as_onnx(program: Any, path: Path) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"ONNX needs `{error.name}`: pip install 'legorec[onnx]'") from error
    torch.onnx.export(
        program,
        (),
        str(path),
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=list(INPUTS),
        output_names=["scores"],
    )
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def run(*given: Tensor) -> Tensor:
        fed = {name: each.numpy() for name, each in zip(INPUTS, given, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return run


def check(scoring: Scoring, run: Run, width: int) -> None:
    """Compare a graph with the model on ``TRIALS`` random shapes and masks, some of them of empty histories.

    Raises:
        ValueError: a score differs by more than ``TOLERANCE`` of the largest, or cannot be computed.
    """
    for number, given in enumerate(_trials(width)):
        with torch.inference_mode():
            wanted = scoring(*given)
        try:
            with torch.no_grad():
                found = run(*given)
        except Exception as error:  # of the runtime, which has many kinds
            said = str(error).strip().partition("\n")[0]
            raise ValueError(f"the graph fails on a batch of another shape: {said}") from error
        off = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
        if not off <= TOLERANCE:
            raise ValueError(
                f"the graph is wrong by {off:.2g} on trial {number} of {TRIALS}; no file was kept"
            )


def _trials(
    width: int, sizes: tuple[tuple[int, int, int], ...] | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Clicks, mask and candidates of any shape; real clicks come first, and masked ones may be anything."""
    random = torch.Generator().manual_seed(0)

    def drawn(high: int) -> int:
        return int(torch.randint(1, high + 1, (), generator=random))

    shapes = sizes or tuple((drawn(SIZES[0]), drawn(SIZES[1]), drawn(SIZES[2])) for _ in range(TRIALS))
    for batch, history, shown in shapes:
        clicks = torch.randn(batch, history, width, generator=random)
        lengths = torch.randint(0, history + 1, (batch, 1), generator=random)
        candidates = torch.randn(batch, shown, width, generator=random)
        yield clicks, torch.arange(history) < lengths, candidates
