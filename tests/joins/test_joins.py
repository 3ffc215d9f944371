"""Each join: what one part, a missing part and a new join give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from legorec import registry
from tests.support.bricks import DIM, item_vectors

NAMES = registry.names("join")


def made(name: str, num_parts: int) -> nn.Module:
    brick = registry.find("join", name)
    offered = {"input_dim": DIM, "num_parts": num_parts}
    return registry.construct(brick, {key: offered[key] for key in brick.offered})


def trained(name: str, num_parts: int = 3) -> nn.Module:
    """Away from its start."""
    join, generator = made(name, num_parts), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in join.parameters():
            value.add_(torch.randn(value.shape, generator=generator))
    return join


def parts() -> tuple[Tensor, Tensor]:
    vectors, mask = item_vectors()
    return vectors.detach(), mask


def test_there_are_joins() -> None:
    assert {"sum", "gate", "concat"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_part_is_what_it_is(name: str) -> None:
    vectors, mask = parts()
    one, there = vectors[:, :1], mask[:, :1]
    assert torch.equal(made(name, 1)(one, there), one[:, 0])
    if name != "concat":  # which learns a projection
        torch.testing.assert_close(trained(name, 1)(one, there), one[:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_an_item_without_any_part_is_zero(name: str) -> None:
    vectors, mask = parts()
    assert not mask[3].any()
    assert not trained(name)(vectors, mask)[3].any()


def test_a_sum_is_the_sum() -> None:
    vectors, mask = parts()
    torch.testing.assert_close(made("sum", 3)(vectors, mask), vectors[:, 0] + vectors[:, 1] + vectors[:, 2])
    torch.testing.assert_close(made("concat", 3)(vectors, mask), made("sum", 3)(vectors, mask))


def test_a_concatenation_by_hand() -> None:
    vectors, mask = parts()
    join = trained("concat")
    wanted = sum(
        vectors[:, part] @ join.project.weight[:, part * DIM : (part + 1) * DIM].T for part in range(3)
    )
    torch.testing.assert_close(join(vectors, mask), wanted)


def test_gates_by_hand() -> None:
    """Weights of each value sum to one over the parts that are there; at first they are equal."""
    vectors, mask = parts()
    mean = vectors.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(made("gate", 3)(vectors, mask), mean)
    join = trained("gate")
    found = join(vectors, mask)
    for item in range(len(vectors)):
        there = mask[item].nonzero()[:, 0].tolist()
        logits = join.weigh(vectors[item].flatten()).view(3, DIM)[there]
        wanted = (logits.softmax(0) * vectors[item, there]).sum(0)
        torch.testing.assert_close(found[item], wanted)
