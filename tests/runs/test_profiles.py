"""Whole runs that read numbers of items and attributes of users, from tables to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import legorec
import worker
from legorec.data.evaluation import Impressions
from legorec.data.store import Store
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.ranking import rank
from tests.support.runs import finish, refused


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Made by ``process/tables.py``; no test may change it."""
    return write_profile_store(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def done(tmp_path_factory, store) -> Path:
    return finish(profile_arguments(store, tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def trained(done):
    return legorec.load(done, device="cpu")


def test_tables_give_users_with_lists_categories_and_numbers(store):
    users = Store.open(store).users
    assert {name: users.field(name).kind for name in users.field_names} == {
        "region": "category", "topics": "categories", "age": "number"
    }  # fmt: skip
    lengths = {name: users.field(name).rows.lengths for name in users.field_names}
    assert lengths["topics"].max() > 2 and not any(each[0] for each in lengths.values())
    assert all(0 < each.sum() for each in lengths.values())
    assert Store.open(store).vocabulary("topics")[0] == "topic 0", "a list of texts keeps their spaces"


def test_train_and_test(store, done, trained):
    assert 0 <= json.loads((done / "metrics.json").read_text())["test"]["metrics"]["gauc"] <= 1
    plugin = trained.model.user_plugin
    assert [part.name for part in trained.data.profiles.fields] == ["topics", "region", "age"]
    assert trained.data.profiles.lengths[:, 0].max() == 2, "cut to `max_length`"
    size = len(Store.open(store).vocabulary("topics")) + len(Store.open(store).vocabulary("region")) + 1
    assert plugin.attributes.shape == (size, 8)
    drawn = torch.eye(16)
    assert (
        not torch.equal(plugin.from_user.weight, drawn)
        and plugin.from_user.weight.sub(drawn).abs().max() < 0.2
    )


def test_the_profile_counts_with_and_without_a_history(trained):
    for history in (["i3", "i4"], []):
        scores = {user: trained.score(history, ["i1", "i2"], user=user) for user in ("u7", "u8", "u0")}
        assert np.isfinite(list(scores.values())).all()
        assert not np.allclose(scores["u7"], scores["u8"])
        stranger = trained.score(history, ["i1", "i2"])
        np.testing.assert_array_equal(stranger, trained.score(history, ["i1", "i2"], user="nobody"))
        np.testing.assert_allclose(stranger, scores["u0"], atol=1e-6)  # nothing is known of u0 either


def test_fast_ranking_keeps_users_with_equal_histories_apart(trained):
    data = trained.data
    interactions = data.store.interactions("test")
    impressions = Impressions(interactions, data.histories, data.num_items)
    empty = data.histories.lengths[interactions.span] == 0
    assert len(set(interactions.user[empty].tolist())) > 1, "two strangers to the clicks"
    fast, online = (rank(trained.model, impressions, fast=each).score for each in (True, False))
    np.testing.assert_allclose(fast, online, atol=1e-5)
    ids, users = np.array(list(data.store.items.ids)), list(data.store.users.ids)
    for row in range(len(impressions)):
        start, stop = data.store.spans[interactions.span[row]]
        history, shown = data.store.histories[start:stop], interactions.candidates[row]
        user = users[interactions.user[row]]
        scores = trained.score(list(ids[history]), list(ids[shown]), user=user)
        places = slice(interactions.candidates.offsets[row], interactions.candidates.offsets[row + 1])
        np.testing.assert_allclose(scores, fast[places], atol=1e-5)


def test_numbers_of_another_scale_are_refused(done, tmp_path, capsys):
    other = write_profile_store(tmp_path / "other", price=2.0)
    argv = profile_arguments(other, tmp_path / "runs", exp__mode="test", exp__load=done)
    refused(argv, capsys, "another store than", "'numbers/items/price' differs")


def test_a_dry_run_shows_the_user_fields_and_the_plugin(store, tmp_path, capsys):
    assert worker.main(profile_arguments(store, tmp_path / "runs", dry_run=True)) == 0
    out = capsys.readouterr().out
    for name in (
        "data.user_fields.topics.max_length",
        "data.user_fields.age.keep",
        "model.user_plugin.embed_dim",
    ):
        assert f"\n{name} " in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "flags, texts",
    [
        ({"data__user_fields": "{topix: {}}"}, ["'topix'", "did you mean 'topics'?"]),
        ({"data__fields": "{prise: {}}"}, ["item field 'prise' is not there; did you mean 'price'?"]),
        ({"data__user_fields": "{}"}, ["'profile' needs `data.user_fields`, such as {gender: {}}"]),
        (
            {"data__user_fields": "{topics: {max_len: 2}}"},
            ["data.user_fields.topics.max_len", "'max_length'?"],
        ),
        ({"model__user_plugin": "{name: profil}"}, ["model.user_plugin.name", "did you mean 'profile'?"]),
        ({"model__user_plugin": "{name: profile, dim: 8}"}, ["model.user_plugin.dim"]),
        (
            {"model__user_plugin": "{name: profile, embed_dim: 0}"},
            ["model.user_plugin.embed_dim", "at least 1"],
        ),
        (
            {"model__user_plugin": "{name: profile, dropout: 1.0}"},
            ["'profile': `dropout` must be at least 0"],
        ),
    ],
)
def test_mistakes_are_messages(store, tmp_path, capsys, flags, texts):
    refused(profile_arguments(store, tmp_path / "runs", **flags), capsys, *texts)


def test_a_run_is_tested_with_the_user_fields_that_it_learned(store, done, tmp_path, capsys):
    other = {"load": done, "data__user_fields": "{topics: {}}"}
    argv = profile_arguments(store, tmp_path / "other", **other)
    argv[argv.index("--exp") + 1] = argv[argv.index("--exp") + 1].replace("tt-naml", "test")
    refused(argv, capsys, "was trained with data.user_fields topics, region, age, asked for are topics")


@pytest.mark.parametrize(
    "item_encoder", ["{name: naml, hidden_dim: 16}", "{name: nrms, hidden_dim: 16, heads: 4}"]
)
def test_other_item_encoders_read_numbers_too(store, tmp_path, item_encoder):
    run = finish(profile_arguments(store, tmp_path / "runs", model__item_encoder=item_encoder, epoch=1))
    assert legorec.load(run, device="cpu").item_vectors.isfinite().all()


def test_the_size_of_a_model_with_a_profile(store, tmp_path, trained, capsys):
    argv = profile_arguments(store, tmp_path / "runs")
    argv[argv.index("--exp") + 1] = argv[argv.index("--exp") + 1].replace("tt-naml", "size")
    assert worker.main(argv) == 0
    count = sum(value.numel() for value in trained.model.parameters())
    assert f" {count:,} " in capsys.readouterr().out
