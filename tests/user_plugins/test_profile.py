"""Profiles joined with user vectors, against the fields of each user read one by one."""

import numpy as np
import pytest
import torch

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.user_plugins.profile import ProfileUserPlugin

# User 1 has nothing at all, user 3 has topics alone.
TOPICS = [[0, 2], [], [1], [4, 3, 0]]
REGIONS = [[2], [], [0], []]
AGES = [[20.0], [], [40.0], []]
DIM, WIDTH = 5, 3


def profiles(**rows: list) -> Catalog:
    """Topics and regions share a vocabulary; ages are numbers."""
    rows = {"topics": TOPICS, "ages": AGES, "region": REGIONS} | rows
    fields, packed = [], []
    for name, lists in rows.items():
        part = Ragged.from_lists(lists, np.float32 if name == "ages" else np.int32)
        words = CatalogField(name, "categories", "words", 6, 3)
        fields.append(CatalogField.of_numbers(name, part) if name == "ages" else words)
        packed.append(part)
    return Catalog(fields, packed)


def plugin(given: Catalog | None = None) -> ProfileUserPlugin:
    torch.manual_seed(0)
    return ProfileUserPlugin(given or profiles(), DIM, embed_dim=WIDTH).eval()


def expected(brick: ProfileUserPlugin, vector: torch.Tensor, user: int) -> np.ndarray:
    """One user in numpy: [user vector; profile] times the joined projection."""
    state = {name: value.numpy().astype(np.float64) for name, value in brick.state_dict().items()}
    words, age = state["attributes"][:6], state["attributes"][6]
    topics, region, ages = ([] if user < 0 else rows[user] for rows in (TOPICS, REGIONS, AGES))
    parts = [
        words[topics].mean(0) if topics else state["missing"][0],
        age * (ages[0] - 30) / 10 if ages else state["missing"][1],
        words[region].mean(0) if region else state["missing"][2],
    ]
    joined = np.concatenate([vector.numpy().astype(np.float64), *parts])
    weight = np.concatenate([state["from_user.weight"], state["from_profile.weight"]], 1)
    return weight @ joined + state["from_profile.bias"]


USERS = [3, -1, 0, 1, 2, 0]


def test_formula():
    brick, vectors = plugin(), torch.randn(len(USERS), DIM)
    torch.nn.init.normal_(brick.from_user.weight)
    found = brick(vectors, torch.tensor(USERS)).detach().numpy()
    wanted = [expected(brick, vector, user) for vector, user in zip(vectors, USERS, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_every_interest_gets_the_same_profile():
    brick, interests = plugin(), torch.randn(len(USERS), 4, DIM)
    found = brick(interests, torch.tensor(USERS))
    assert found.shape == interests.shape
    for place in range(4):
        torch.testing.assert_close(found[:, place], brick(interests[:, place], torch.tensor(USERS)))


def test_an_unknown_user_is_as_one_without_any_field():
    brick, vector = plugin(), torch.randn(1, DIM).expand(2, DIM)
    strangers = brick(vector, torch.tensor([-1, 1]))
    torch.testing.assert_close(strangers[0], strangers[1])
    assert not torch.allclose(strangers[0], brick(vector, torch.tensor([0, 0]))[0])


def test_the_user_vector_passes_unchanged_at_the_start():
    """What is added does not depend on it."""
    brick, users = plugin(), torch.tensor(USERS)
    one, other = torch.randn(2, len(USERS), DIM)
    torch.testing.assert_close(brick(one, users) - one, brick(other, users) - other, atol=1e-6, rtol=0)
    empty = brick(torch.zeros_like(one), users)
    torch.testing.assert_close(empty, brick(one, users) - one, atol=1e-6, rtol=0)


def test_profiles_are_no_part_of_the_state():
    brick = plugin()
    assert set(brick.state_dict()) == {
        "attributes", "missing", "from_user.weight", "from_profile.weight", "from_profile.bias"
    }  # fmt: skip
    assert brick.attributes.shape == (7, WIDTH) and brick.missing.shape == (3, WIDTH)


def test_gradients_reach_what_the_batch_names():
    brick = plugin()
    brick(torch.randn(2, DIM), torch.tensor([2, 2])).sum().backward()
    assert brick.attributes.grad.any(1).tolist() == [True, True, False, False, False, False, True]
    assert not brick.missing.grad.any()
    brick(torch.randn(1, DIM), torch.tensor([-1])).sum().backward()
    assert brick.missing.grad.all()


def test_a_catalogue_in_which_nobody_has_anything():
    nothing = profiles(topics=[[], []], ages=[[], []], region=[[], []])
    brick, users = plugin(nothing), torch.tensor([0, 1, -1])
    out = brick(torch.zeros(3, DIM), users)
    assert out.isfinite().all()
    torch.testing.assert_close(out, out[:1].expand(3, DIM))
    out.square().sum().backward()
    assert brick.missing.grad.any()


def test_no_user_at_all():
    brick = plugin()
    assert brick(torch.zeros(0, DIM), torch.zeros(0, dtype=torch.int64)).shape == (0, DIM)


def test_dropout_is_for_training_only():
    brick, vectors = plugin().train(), torch.randn(len(USERS), DIM)
    users = torch.tensor(USERS)
    brick.dropout.rate = 0.5
    assert not torch.equal(brick(vectors, users), brick(vectors, users))
    brick.eval()
    assert torch.equal(brick(vectors, users), brick(vectors, users))


def test_a_plugin_on_the_meta_device_is_counted():
    given = profiles().to("meta")
    with torch.device("meta"):
        brick = ProfileUserPlugin(given, DIM, embed_dim=WIDTH).to("meta")
    assert all(value.is_meta for value in [*brick.parameters(), *brick.buffers()])


def test_dropout_is_checked():
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and below 1, got 1.0"):
        ProfileUserPlugin(profiles(), DIM, dropout=1.0)
