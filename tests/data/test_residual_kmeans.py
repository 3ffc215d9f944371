"""Residual k-means against its definition, and against scikit-learn's clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from legorec.data import residual_kmeans as module
from legorec.data.residual_kmeans import ResidualCodes, places_among_equals, residual_kmeans


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    """500 around 12 centres, far from the origin."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 6)) * 4
    drawn = centres[rng.integers(0, 12, 500)] + rng.normal(size=(500, 6)) + 50
    return torch.from_numpy(drawn.astype(np.float32))


def run(vectors: torch.Tensor, levels: int = 3, size: int = 8, seed: int = 1, **more: Any) -> ResidualCodes:
    return residual_kmeans(vectors, levels, size, seed, **more)


def test_a_code_is_the_nearest_centroid_to_what_the_levels_before_left(vectors: torch.Tensor) -> None:
    found = run(vectors)
    assert found.codes.shape == (500, 3) and found.codes.dtype == np.int32
    assert found.centroids.shape == (3, 8, 6) and found.centroids.dtype == np.float32
    rest = vectors.double().numpy()
    variance = ((rest - rest.mean(0)) ** 2).sum()
    for codes, centroids, left in zip(found.codes.T, found.centroids, found.left, strict=True):
        squares = ((rest[:, None] - centroids) ** 2).sum(2)
        chosen = squares[np.arange(500), codes]
        np.testing.assert_allclose(chosen, squares.min(1), atol=1e-3)
        for code in range(8):  # nothing more to gain by moving a centroid
            np.testing.assert_allclose(rest[codes == code].mean(0), centroids[code], atol=0.3)
        rest = rest - centroids[codes]
        assert (rest**2).sum() / variance == pytest.approx(left, rel=1e-4)
    assert 1 > found.left[0] > found.left[1] > found.left[2] > 0


def test_clusters_are_as_tight_as_those_of_scikit_learn(vectors: torch.Tensor) -> None:
    """From starts of its own, and it finds next to nothing to gain from ours."""
    variance = float((vectors - vectors.mean(0)).square().sum())
    ours = min((run(vectors, levels=1, size=12, seed=seed) for seed in range(5)), key=lambda each: each.left)
    theirs = KMeans(12, n_init=5, random_state=0).fit(vectors.numpy()).inertia_ / variance
    assert ours.left[0] < 1.01 * theirs
    further = KMeans(12, init=ours.centroids[0], n_init=1).fit(vectors.numpy()).inertia_ / variance
    assert ours.left[0] == pytest.approx(further, rel=2e-3)


def test_the_seed_decides(vectors: torch.Tensor) -> None:
    one, same, other = (run(vectors, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.codes, same.codes) and np.array_equal(one.centroids, same.centroids)
    assert not np.array_equal(one.codes, other.codes)


def test_chunks_and_what_is_added_to_all_change_nothing(
    vectors: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(vectors)
    assert np.array_equal(run(vectors.double() - 20).codes, whole.codes)
    monkeypatch.setattr(module, "CHUNK", 64)
    assert np.array_equal(run(vectors).codes, whole.codes)


def test_the_start_may_see_a_sample(vectors: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 2)
    assert run(vectors).left[-1] < 2 * run(vectors.clone(), seed=3).left[-1]


def test_half_precision_is_read(vectors: torch.Tensor) -> None:
    assert run(vectors.bfloat16()).left[0] == pytest.approx(run(vectors).left[0], rel=0.2)


def test_an_empty_cluster_goes_to_the_farthest_vector() -> None:
    """A start on three equal vectors leaves two centroids empty; each finds a group of its own."""
    groups = (
        torch.eye(3).repeat_interleave(10, 0) * torch.tensor([1.0, 5.0, 9.0]).repeat_interleave(10)[:, None]
    )
    residuals = module._Residuals(groups, groups.mean(0))
    start = residuals.rows(torch.tensor([0, 1, 2]))
    centroids, found = module._lloyd(residuals, start, iterations=20, floor=1e-9)
    assert found.left == pytest.approx(0, abs=1e-9) and found.counts.tolist() == [10, 10, 10]


def test_fewer_different_vectors_than_codes() -> None:
    """Nothing is left, no code stands for rounding, and further levels have nothing to tell."""
    vectors = (torch.randn(4, 5, generator=torch.Generator().manual_seed(0)) + 7).repeat(30, 1)
    found = run(vectors, levels=2, size=16)
    assert [len(np.unique(codes)) for codes in found.codes.T] == [4, 1]
    assert found.left == pytest.approx((0, 0), abs=1e-9)
    assert len(np.unique(found.codes[:4], axis=0)) == 4


def test_places_among_equals() -> None:
    codes = np.array([[1, 2], [0, 0], [1, 2], [2, 1], [1, 2], [0, 0]])
    places, together = places_among_equals(codes)
    assert places.tolist() == [0, 0, 1, 0, 2, 1]
    assert together.tolist() == [3, 2, 3, 1, 3, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": 0}, "`levels` must be at least 1, got 0"),
        ({"size": 1}, "`size` must be at least 2, got 1"),
        ({"size": 501}, r"`size` must be at most the number of vectors \(500\), got 501"),
        ({"seed": -1}, "`seed` must not be negative, got -1"),
        ({"iterations": 0}, "`iterations` must be at least 1, got 0"),
        (
            {"vectors": torch.zeros(4)},
            r"`vectors` must be a matrix of floats, .* got \(4,\) of torch.float32",
        ),
        ({"vectors": torch.zeros(4, 2).int()}, r"got \(4, 2\) of torch.int32"),
        ({"vectors": torch.zeros(0, 2)}, r"got \(0, 2\) of torch.float32"),
        (
            {"vectors": torch.tensor([[0.0], [1.0], [torch.nan]]), "size": 2},
            "`vectors` must be finite, row 2 is not",
        ),
        ({"vectors": torch.full((9, 3), 0.1)}, "the vectors are all the same"),
    ],
)
def test_refusals(vectors: torch.Tensor, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**{"vectors": vectors, **change})
