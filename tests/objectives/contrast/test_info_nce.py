"""InfoNCE against cross entropy, its limits and its symmetries."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from legorec.objectives.contrast import info_nce

DIRECTIONS = ["a", "b", "both"]
SIMILARITIES = ["cosine", "dot"]


def pairs(number: int = 7, width: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, number, width, generator=generator, dtype=torch.float64).to(dtype)
    return a, b


def by_hand(logits_NN: Tensor) -> dict[str, Tensor]:
    """The losses of each direction from similarities over the temperature, rows being of ``a``."""
    partner = torch.arange(len(logits_NN))
    a, b = (F.cross_entropy(each, partner, reduction="none") for each in (logits_NN, logits_NN.T))
    return {"a": a, "b": b, "both": (a + b) / 2}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_it_is_cross_entropy_of_similarities(direction, temperature):
    a, b = pairs()
    cosines = torch.stack([F.cosine_similarity(each[None], b) for each in a])
    for similarity, found in (("cosine", cosines), ("dot", a @ b.T)):
        loss = info_nce(a, b, temperature=temperature, similarity=similarity, direction=direction)
        torch.testing.assert_close(loss, by_hand(found / temperature)[direction])


def test_a_direction_says_over_which_side_the_softmax_runs():
    """With b given, moving another row's a changes its loss; with a given, that of other rows does not."""
    a, b = pairs()
    moved = a.clone()
    moved[3] += 1.0
    kept = torch.arange(len(a)) != 3
    over_b, over_a = (
        [info_nce(each, b, temperature=0.5, direction=direction)[kept] for each in (a, moved)]
        for direction in ("a", "b")
    )
    assert torch.equal(*over_b) and not torch.isclose(*over_a).any()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equal_vectors_cost_log_n(direction, similarity):
    vectors = torch.ones(9, 4, dtype=torch.float64) * 3.0
    loss = info_nce(vectors, vectors, temperature=0.3, similarity=similarity, direction=direction)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(9)))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_matched_orthonormal_pairs_cost_nothing_as_the_temperature_falls(direction):
    vectors = torch.eye(6, dtype=torch.float64)
    losses = [
        info_nce(vectors, vectors, temperature=each, direction=direction).sum() for each in (1, 0.1, 0.01)
    ]
    assert losses[0] > losses[1] > losses[2] and losses[2] < 1e-40


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_both_is_the_same_with_a_and_b_swapped(similarity):
    a, b = pairs()
    torch.testing.assert_close(info_nce(a, b, similarity=similarity), info_nce(b, a, similarity=similarity))
    one, other = (info_nce(*each, direction=way) for each, way in (((a, b), "a"), ((b, a), "b")))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, info_nce(a, b, direction="b"))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("keys", [None, torch.tensor([0, 1, 0, 2, 3, 1, 0])])
def test_rows_in_another_order_have_the_same_losses(direction, keys):
    a, b = pairs()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    loss = info_nce(a, b, direction=direction, keys_B=keys)
    moved = info_nce(a[order], b[order], direction=direction, keys_B=None if keys is None else keys[order])
    torch.testing.assert_close(moved, loss[order])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_cosines_do_not_see_lengths(direction):
    a, b = pairs()
    lengths = torch.arange(1.0, 8.0, dtype=torch.float64)[:, None]
    scaled = info_nce(a * lengths, b / lengths, direction=direction)
    torch.testing.assert_close(scaled, info_nce(a, b, direction=direction))
    assert not torch.allclose(
        info_nce(a * lengths, b, similarity="dot"), info_nce(a, b, similarity="dot"), rtol=1e-3
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("keys", [None, torch.tensor([0, 1, 0, 2])])
def test_gradients(direction, similarity, keys):
    a, b = (each.requires_grad_() for each in pairs(4, 3))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return info_nce(a, b, temperature=0.7, similarity=similarity, direction=direction, keys_B=keys)

    assert torch.autograd.gradcheck(loss, (a, b))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_false_negatives_leave_the_denominator(direction):
    """A row whose key another has costs what it costs where that other is not there."""
    a, b = pairs()
    keys = torch.tensor([4, 1, 4, 2, 3, 0, 5])
    masked = info_nce(a, b, direction=direction, keys_B=keys)
    without = torch.tensor([0, 1, 3, 4, 5, 6])
    alone = info_nce(a[without], b[without], direction=direction)
    torch.testing.assert_close(masked[0], alone[0])
    plain = info_nce(a, b, direction=direction)
    single = torch.tensor([1, 3, 4, 5, 6])
    torch.testing.assert_close(masked[single], plain[single])
    assert (masked[[0, 2]] < plain[[0, 2]]).all()


def test_a_batch_of_one_key_costs_nothing_and_teaches_nothing():
    a, b = (each.requires_grad_() for each in pairs())
    loss = info_nce(a, b, keys_B=torch.zeros(len(a), dtype=torch.int64))
    loss.sum().backward()
    assert not loss.any() and not a.grad.any() and not b.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    a, b = pairs(dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(a, b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), info_nce(a.double(), b.double()), rtol=1e-4, atol=1e-5)


def test_zero_vectors_and_long_ones_stay_finite():
    a, b = (each.clone() for each in pairs(dtype=torch.float32))
    a[0] = 0.0
    b[1] *= 1e18
    a.requires_grad_()
    loss = info_nce(a, b)
    loss.sum().backward()
    assert loss.isfinite().all() and a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be above 0, got 0.0"),
        ({"similarity": "euclid"}, "`similarity` must be one of cosine, dot, got 'euclid'"),
        ({"direction": "c"}, "`direction` must be one of a, b, both, got 'c'"),
        ({"keys_B": torch.zeros(3)}, r"`keys` must be one for each row \(7,\), got \(3,\)"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        info_nce(*pairs(), **given)


def test_wrong_shapes():
    a, b = pairs()
    with pytest.raises(ValueError, match=r"pairs of vectors, \(B, D\) each, got \(7, 5\) and \(6, 5\)"):
        info_nce(a, b[:6])
