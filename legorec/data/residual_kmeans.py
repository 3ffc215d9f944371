"""Residual k-means: a vector becomes a few codes, from coarse to fine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from legorec.data.writing.progress import Progress

CHUNK = 8192  # vectors processed at a time
SAMPLE = 64  # sampled vectors per code, from which the initial centroids are drawn
TOLERANCE = 1e-4  # a round that improves by a smaller share than this is the last
EXACT = 1e-12  # a residual of this share of the mean squared length is rounding error


@dataclass(frozen=True)
class ResidualCodes:
    """Codes of vectors, and the centroids behind them: a vector is about the sum of its codes' centroids."""

    codes: np.ndarray  # (N, levels) int32
    centroids: np.ndarray  # (levels, size, D) float32
    left: tuple[float, ...]  # the share of the variance that remains after each level


def residual_kmeans(
    vectors: Tensor, levels: int, size: int, seed: int, iterations: int = 50, progress: Progress | None = None
) -> ResidualCodes:
    """Cluster vectors, then their residuals, and so on; the code at a level is the nearest centroid.

    The residual quantiser of semantic ids, fitted level by level with Lloyd's k-means; TIGER (Rajput et al.,
    2023) learns the centroids together with an autoencoder instead (RQ-VAE). It starts from greedy k-means++
    (Arthur and Vassilvitskii, 2007) on a sample of at most 64 vectors for each code. A centroid without
    vectors moves to the vector farthest from its own centroid.

    Args:
        vectors: (N, D), floats of any width on the host. A mapped file is read ``CHUNK`` rows at a time, and
            residuals are computed again in each round, so that memory does not grow with ``D * N``.
        size: number of codes per level. If fewer vectors are distinct, some codes are unused.
        seed: of the initial centroids. The same seed gives the same codes on one machine with the same number
            of threads.
        iterations: maximum number of rounds per level; a level ends sooner when a round changes almost
            nothing.

    Raises:
        ValueError: a number is out of range, or the vectors are too few, not finite or all the same.
    """
    _check(vectors, levels, size, seed, iterations)
    progress = progress or Progress()
    residuals = _Residuals(vectors, _mean(vectors))
    total = float(
        sum(residuals.rows(chunk).square().sum(dtype=torch.float64) for chunk in residuals.chunks())
    )
    if total <= EXACT * len(vectors) * float(residuals.mean.square().sum()):
        raise ValueError("the vectors are all the same, so they cannot be clustered")
    floor, left = EXACT * total / len(vectors), []
    for level in range(levels):
        progress.say(f"clusters of level {level + 1} of {levels}")
        centroids = _start(residuals, size, np.random.default_rng([seed, level]))
        centroids, found = _lloyd(residuals, centroids, iterations, floor)
        residuals.codes.append(found.codes)
        residuals.centroids.append(centroids)
        left.append(found.left / total)
    books = torch.stack(residuals.centroids)
    books[0] += residuals.mean
    return ResidualCodes(torch.stack(residuals.codes, 1).int().numpy(), books.numpy(), tuple(left))


def places_among_equals(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the place of each row among the rows equal to it, in order, and (N,) the number of those rows."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    places = np.empty(len(codes), dtype=np.int64)
    starts = np.repeat(counts.cumsum() - counts, counts)
    places[np.argsort(group, kind="stable")] = np.arange(len(codes)) - starts
    return places, counts[group]


@dataclass
class _Residuals:
    """The residuals of the vectors after the levels so far, computed on demand."""

    vectors: Tensor  # (N, D)
    mean: Tensor  # (D,) subtracted first, so that distances stay precise if all vectors are similar
    codes: list[Tensor] = field(default_factory=list)  # (N,) of each level
    centroids: list[Tensor] = field(default_factory=list)  # (size, D) of each level

    def chunks(self) -> Iterator[slice]:
        return (slice(start, start + CHUNK) for start in range(0, len(self.vectors), CHUNK))

    def rows(self, which: slice | Tensor) -> Tensor:
        """(R, D) float32"""
        rows = self.vectors[which].float() - self.mean
        for codes, centroids in zip(self.codes, self.centroids, strict=True):
            rows -= centroids[codes[which]]
        return rows


@dataclass(frozen=True)
class _Assignment:
    """Vectors with their nearest centroids."""

    codes: Tensor  # (N,)
    squares: Tensor  # (N,) squared distances
    rests: Tensor  # (size, D) float64, the sum of the residuals of each centroid's vectors
    counts: Tensor  # (size,)

    @property
    def left(self) -> float:
        """The sum of all squared distances."""
        return float(self.squares.sum(dtype=torch.float64))

    def farthest(self, floor: float) -> tuple[Tensor, Tensor]:
        """Centroids without a vector, and for each the vector it moves to, as far as vectors are left."""
        empty = (self.counts == 0).nonzero().flatten()
        if not len(empty):
            return empty, empty
        far = self.squares.argsort(descending=True, stable=True)[: len(empty)]
        far = far[self.squares[far] > floor]
        return empty[: len(far)], far


def _lloyd(
    residuals: _Residuals, centroids: Tensor, iterations: int, floor: float
) -> tuple[Tensor, _Assignment]:
    """Move centroids to the mean of their vectors until that changes almost nothing."""
    found = _assign(residuals, centroids)
    empty, far = found.farthest(floor)
    for _ in range(iterations):
        centroids = (centroids + found.rests / found.counts.clamp(min=1).unsqueeze(1)).float()
        centroids[empty] = residuals.rows(far)
        before, found = found.left, _assign(residuals, centroids)
        empty, far = found.farthest(floor)
        if not len(far) and found.left >= before * (1 - TOLERANCE):
            break
    return centroids, found


def _assign(residuals: _Residuals, centroids: Tensor) -> _Assignment:
    count, size = len(residuals.vectors), len(centroids)
    codes, squares = torch.empty(count, dtype=torch.int64), torch.empty(count)
    rests = torch.zeros(centroids.shape, dtype=torch.float64)
    lengths = centroids.square().sum(1)
    for chunk in residuals.chunks():
        rows = residuals.rows(chunk)
        nearest = torch.addmm(lengths, rows, centroids.t(), alpha=-2.0).argmin(1)
        codes[chunk] = nearest
        # Not from the product above, where a tiny distance would be the difference of two large numbers.
        rest = rows - centroids[nearest]
        squares[chunk] = rest.square().sum(1)
        ranked, order = nearest.sort(stable=True)
        starts = torch.searchsorted(ranked, torch.arange(size))
        rests += F.embedding_bag(order, rest, starts, mode="sum")
    return _Assignment(codes, squares, rests, torch.bincount(codes, minlength=size))


def _start(residuals: _Residuals, size: int, rng: np.random.Generator) -> Tensor:
    """(size, D) initial centroids by greedy k-means++. At each step a few vectors of a sample are drawn,
    weighted by squared distance to the nearest centroid; the one that leaves the smallest sum is taken."""
    count, trials = len(residuals.vectors), 2 + int(np.log(size))
    sample = np.sort(rng.choice(count, min(count, SAMPLE * size), replace=False))
    rows = residuals.rows(torch.from_numpy(sample))
    lengths = rows.square().sum(1)
    squares, chosen = torch.full((len(rows),), torch.inf), []
    for step in range(size):
        edges = squares.numpy().cumsum(dtype=np.float64)
        if step == 0 or edges[-1] == 0.0:  # all are equally good
            edges = np.arange(1.0, len(rows) + 1)
        drawn = np.searchsorted(edges, rng.random(trials) * edges[-1], side="right")
        places = torch.from_numpy(drawn.clip(max=len(rows) - 1))
        to_these = torch.addmm(lengths[places], rows, rows[places].t(), alpha=-2.0) + lengths.unsqueeze(1)
        after = torch.minimum(squares.unsqueeze(1), to_these.clamp_(min=0.0))
        best = int(after.sum(0, dtype=torch.float64).argmin())
        squares = after[:, best].contiguous()
        squares[places[best]] = 0.0
        chosen.append(int(places[best]))
    return rows[chosen]


def _mean(vectors: Tensor) -> Tensor:
    """(D,)"""
    total = torch.zeros(vectors.shape[1], dtype=torch.float64)
    for start in range(0, len(vectors), CHUNK):
        rows = vectors[start : start + CHUNK].double()
        finite = rows.isfinite().all(1)
        if not finite.all():
            raise ValueError(f"`vectors` must be finite, row {start + int(finite.int().argmin())} is not")
        total += rows.sum(0)
    return (total / len(vectors)).float()


def _check(vectors: Tensor, levels: int, size: int, seed: int, iterations: int) -> None:
    if vectors.ndim != 2 or not vectors.is_floating_point() or not vectors.numel():
        raise ValueError(
            f"`vectors` must be a matrix of floats, one row for each item, got {tuple(vectors.shape)} of "
            f"{vectors.dtype}"
        )
    for name, value, least in (("levels", levels, 1), ("size", size, 2), ("iterations", iterations, 1)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")
    if size > len(vectors):
        raise ValueError(f"`size` must be at most the number of vectors ({len(vectors):,}), got {size}")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative, got {seed}")
