"""Two towers of one causal model: who sees whom, and means over exact spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from legorec.batch import TokenBatch
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.token_rows import means, segment_alone, some_rows
from legorec.lm.two_towers import TwoTowerModel
from tests.support.tiny import random_model

USERS, TARGETS = (6, 3, 9, 1), (4, 2, 5, 3)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def batch_of(users: Sequence[int] = USERS, targets: Sequence[int] = TARGETS, seed: int = 0) -> TokenBatch:
    """Rows of a user's tokens and a target's, packed; the target is learned, but for a row's first token."""
    user, target = np.array(users), np.array(targets)
    lengths = user + target
    begins = lengths.cumsum() - lengths
    rows = zip(begins, user, lengths, strict=True)
    learned = [place for begin, start, stop in rows for place in range(begin + max(start, 1), begin + stop)]
    count, zero = len(users), np.zeros_like(user)
    spans = {"user": np.stack([zero, user], 1), "target": np.stack([user, lengths], 1)}
    return TokenBatch(
        torch.randint(3, 97, (int(lengths.sum()),), generator=torch.Generator().manual_seed(seed)),
        torch.from_numpy(lengths),
        torch.tensor(learned),
        {name: torch.from_numpy(each) for name, each in spans.items()},
        torch.arange(count),
        torch.ones(count),
        item=torch.arange(count),
    )


def towers(folder, model_type: str = "llama", project_dim: int | None = None) -> TwoTowerModel:
    random_model(model_type, head=True).save_pretrained(folder)
    torch.manual_seed(0)
    return TwoTowerModel(
        CausalModel(Pretrained(folder), lora=LoRA(enabled=False)), "target", project_dim
    ).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return towers(tmp_path_factory.mktemp("llama"))


def test_parts_of_a_batch_are_those_of_its_rows():
    batch = batch_of()
    rows = batch.tokens.split(batch.lengths.tolist())
    part = some_rows(batch, slice(1, 3), "target")
    assert torch.equal(part.tokens, torch.cat(rows[1:3])) and part.item.tolist() == [1, 2]
    whole = some_rows(batch, slice(0, 4), "target")
    assert torch.equal(whole.learned, batch.learned) and torch.equal(whole.tokens, batch.tokens)
    assert part.learned.tolist() == [3, 4, 14, 15, 16, 17, 18]
    alone = segment_alone(batch, "target")
    wanted = [row[user:] for row, user in zip(rows, USERS, strict=True)]
    assert torch.equal(alone.tokens, torch.cat(wanted)) and alone.lengths.tolist() == list(TARGETS)
    assert not len(alone.learned)


def test_a_rows_first_token_is_never_learned():
    batch = batch_of((0, 2), (3, 1))
    assert some_rows(batch, slice(0, 2), "target").learned.tolist() == [1, 2, 5] == batch.learned.tolist()


def test_means_are_over_exact_spans_and_nothing_is_zero():
    batch = batch_of((0, 2, 4), (3, 1, 2))
    states = torch.randn(12, 5, dtype=torch.float64)
    found = means(states, batch, batch.spans["user"])
    torch.testing.assert_close(
        found, torch.stack([torch.zeros(5).double(), states[3:5].mean(0), states[6:10].mean(0)])
    )


def test_vectors_are_those_of_single_rows_without_padding(model):
    """As transformers computes them, one row at a time."""
    batch = batch_of()
    _, user, given = model.joint(batch)
    alone = model.alone(batch)
    base = random_model("llama", head=True).model
    with torch.inference_mode():
        for number, row in enumerate(batch.tokens.split(batch.lengths.tolist())):
            states, start = base(row[None]).last_hidden_state[0], USERS[number]
            torch.testing.assert_close(user[number], states[:start].mean(0), **CLOSE)
            torch.testing.assert_close(given[number], states[start:].mean(0), **CLOSE)
            target = base(row[None, start:]).last_hidden_state[0].mean(0)
            torch.testing.assert_close(alone[number], target, **CLOSE)


def test_the_target_pass_does_not_see_the_user_and_the_user_not_the_target(model):
    batch = batch_of()
    for segment, unchanged in (("user", "alone"), ("target", "user")):
        tokens = batch.tokens.clone()
        start, stop = batch.spans[segment].T
        begins = batch.lengths.cumsum(0) - batch.lengths
        for begin, first, last in zip(begins, start, stop, strict=True):
            tokens[begin + first : begin + last] = tokens[begin + first : begin + last].flip(0) % 90 + 4
        other = TokenBatch(
            tokens, batch.lengths, batch.learned, batch.spans, batch.group, batch.label, item=batch.item
        )
        found = [
            dict(zip(("losses", "user", "given"), model.joint(each), strict=True)) for each in (batch, other)
        ]
        for vectors, each in zip(found, (batch, other), strict=True):
            vectors["alone"] = model.alone(each)
        for name in ("user", "given", "alone"):
            same = torch.allclose(found[0][name], found[1][name], atol=1e-6)
            assert same is (name == unchanged), (segment, name)


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_without_a_user_both_passes_give_the_same_vector(tmp_path, model_type):
    """Of models whose positions are relative."""
    model = towers(tmp_path, model_type)
    batch = batch_of((0, 0, 0), (4, 1, 6))
    _, user, given = model.joint(batch)
    torch.testing.assert_close(given, model.alone(batch), **CLOSE)
    assert not user.any()


def test_a_score_is_the_mean_likelihood_of_the_targets_tokens(model):
    batch = batch_of()
    losses, *_ = model.joint(batch)
    wanted = torch.stack([-each.mean() for each in losses.split(list(TARGETS))])
    torch.testing.assert_close(model(batch), wanted)


def test_heads_are_one_for_users_and_one_for_targets(tmp_path):
    model = towers(tmp_path, project_dim=7)
    batch = batch_of()
    _, user, given = model.joint(batch)
    assert user.shape == given.shape == model.alone(batch).shape == (4, 7)
    (user.sum() + given.sum()).backward()
    assert model.project_user.weight.grad.any() and model.project_target.weight.grad.any()
    assert not torch.equal(model.project_user.weight.grad, model.project_target.weight.grad)
