"""The user encoder over semantic codes, against its definition written out level by level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from legorec.batch import ItemCodes
from legorec.user_encoders.gru import GRUUserEncoder
from legorec.user_encoders.naml import NAMLUserEncoder
from legorec.user_encoders.nrms import NRMSUserEncoder
from legorec.user_encoders.semantic import SemanticUserEncoder

SIZES, D = (4, 5, 3), 8
KINDS = ("additive", "attention", "gru")
MASK = torch.arange(6) < torch.tensor([0, 1, 4, 6]).unsqueeze(1)


def codes(levels: int = 3) -> ItemCodes:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(0, size, (10,), generator=generator) for size in SIZES[:levels]]
    return ItemCodes(torch.stack(drawn, 1), SIZES[:levels])


def items(seed: int = 0) -> Tensor:
    return torch.randint(0, 10, MASK.shape, generator=torch.Generator().manual_seed(seed))


def encoder(kind: Any = "additive", levels: int = 3, dropout: float = 0.0) -> SemanticUserEncoder:
    torch.manual_seed(0)
    made = SemanticUserEncoder(codes(levels), D, kind, heads=2, attention_dim=5, dropout=dropout)
    return made.double()


def users(made: SemanticUserEncoder, click_items: Tensor, mask: Tensor = MASK) -> Tensor:
    nothing = torch.full((*mask.shape, D), torch.nan, dtype=torch.float64)
    return made(nothing, mask, click_items)


def weighted(pool: Any, row_LD: Tensor) -> Tensor:
    return (torch.tanh(pool.hidden(row_LD)) @ pool.query).softmax(0) @ row_LD


def alone(kind: str, level: Any) -> Any:
    """The user encoder of that kind with a level's weights."""
    if kind == "gru":
        made: Any = GRUUserEncoder(D, dropout=0.0).double()
        made.clicks.load_state_dict(level.states.state_dict())
    else:
        made = (NRMSUserEncoder(D, 2, 5, 0.0) if kind == "attention" else NAMLUserEncoder(D, 5)).double()
        made.pool.load_state_dict(level.pool.state_dict())
        if kind == "attention":
            made.clicks.load_state_dict(level.clicks.state_dict())
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_a_user_encoder_over_sums_of_code_vectors(kind: str) -> None:
    made, chosen, values = encoder(kind), items(), codes().values
    found = users(made, chosen)
    tables = made.learned.split(SIZES)
    for user, mask in enumerate(MASK):
        levels = []
        for level in range(3):
            clicks = [
                sum(tables[below][values[item, below]] for below in range(level + 1))
                for item in chosen[user][mask].tolist()
            ]
            vectors = torch.stack(clicks) if clicks else torch.zeros(0, D).double()
            of_level = alone(kind, made.encoders[level])
            there = torch.ones(1, len(vectors), dtype=torch.bool)
            levels.append(of_level(vectors[None], there)[0])
        torch.testing.assert_close(found[user], weighted(made.pool, torch.stack(levels)))
    assert not found[0].any() and found[1:].any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_masked_places_are_not_looked_at(kind: str) -> None:
    made, chosen = encoder(kind), items()
    found = users(made, chosen)
    assert torch.equal(users(made, torch.where(MASK, chosen, items(7))), found)
    found.square().sum().backward()
    assert made.learned.grad is not None
    made.learned.grad = None
    users(made, chosen[:1], MASK[:1]).sum().backward()
    assert made.learned.grad is None or not made.learned.grad.any()
    assert users(made, chosen[:, :0], MASK[:, :0]).tolist() == [[0.0] * D] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    for levels in (1, 3):
        made = encoder(kind, levels)
        users(made, items()).square().sum().backward()
        assert all(value.grad is not None and value.grad.any() for value in made.parameters())
        assert (made.pool is None) == (levels == 1)


def test_clicks_of_the_same_codes_are_the_same_clicks() -> None:
    made = encoder("attention")
    made.rows[4] = made.rows[2]
    chosen = torch.full((4, 6), 2)
    assert torch.equal(users(made, chosen), users(made, chosen + 2))


def test_codes_are_no_part_of_the_state() -> None:
    made = encoder()
    assert "rows" not in made.state_dict() and made.rows.dtype == torch.int64
    other = encoder().eval()
    torch.nn.init.zeros_(other.learned)
    other.load_state_dict(made.state_dict())
    assert torch.equal(users(other, items()), users(made, items()))


def test_dropout_acts_in_training_alone() -> None:
    made = encoder(dropout=0.5)
    assert not torch.equal(users(made, items()), users(made, items()))
    made.eval()
    assert torch.equal(users(made, items()), users(encoder().eval(), items()))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="`encoder` must be 'additive', 'attention' or 'gru', got 'cnn'"):
        encoder("cnn")
    with pytest.raises(ValueError, match=r"`heads` must divide `input_dim` \(8\), got 3"):
        SemanticUserEncoder(codes(), D, "attention", heads=3)
