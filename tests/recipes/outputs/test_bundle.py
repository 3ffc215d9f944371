"""``recommender.save``: the model goes anywhere, scores the same there, and takes no user along."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import legorec
from legorec.data.text import TokenizerChoice
from legorec.data.writing.rewritten import Content, Pieces, add_impressions
from legorec.data.writing.writer import StoreWriter
from legorec.program import main
from tests.support.profiles import profile_arguments, write_profile_store
from tests.support.runs import arguments, finish, write_store

MODELS = ("lego_nrms", "lego_naml", "lego_nrms_id", "lego_sasrec_id")
HISTORIES: list[list[object]] = [[], ["i1", "i2"], [f"i{n}" for n in range(20)], ["i5", {"title": "w1 w2"}]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of each model and what it answers; then the runs and the store are removed."""
    folder = tmp_path_factory.mktemp("save")
    store, wanted = write_store(folder / "store"), {}
    for name in MODELS:
        run = finish(
            arguments(store, folder / "runs" / name, model=name, epoch=1, data__history__max_length="null")
        )
        trained = legorec.load(run, device="cpu")
        trained.save(folder / "saved" / name)
        wanted[name] = answers(trained)
    shutil.rmtree(folder / "runs")
    shutil.rmtree(store)
    return folder / "saved", wanted


def answers(trained) -> list[object]:
    new = not trained.model.reads_rows and "id" not in trained.model.source.field_kinds
    found: list[object] = []
    for history in HISTORIES if new else HISTORIES[:3]:
        scores = trained.score(history, ["i3", "i4", *([{"title": "w3", "category": "c1"}] if new else [])])
        found += [trained.recommend(history, k=60), scores.tolist()]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_moved_model_answers_exactly_as_its_run_without_the_store(made, name, tmp_path, monkeypatch):
    shutil.copytree(made[0] / name, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert answers(legorec.load("elsewhere", device="cpu")) == made[1][name]


def test_what_was_loaded_from_a_folder_is_saved_again_byte_by_byte(made, tmp_path):
    first = made[0] / "lego_naml"
    second = legorec.load(first, device="cpu").save(tmp_path / "again")
    names = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(second) for file in second.rglob("*") if file.is_file())
    assert len(names) > 10
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_every_flipped_bit_is_refused_but_in_the_card(made, tmp_path):
    first = made[0] / "lego_naml"
    names = [file.relative_to(first) for file in first.rglob("*") if file.is_file()]
    for name in names:
        copy = shutil.copytree(first, tmp_path / "copy", dirs_exist_ok=True)
        content = bytearray((copy / name).read_bytes())
        content[-1 - len(content) // 2] ^= 1
        (copy / name).write_bytes(bytes(content))
        if name.name == "README.md":
            legorec.load(copy, device="cpu")
            continue
        with pytest.raises(ValueError, match=str(name.name).replace("@", ".")):
            legorec.load(copy, device="cpu")
        (copy / name).unlink()
        with pytest.raises(ValueError):
            legorec.load(copy, device="cpu")


def test_no_user_no_history_and_no_path_is_in_any_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    items = {"item": [f"film-{n}" for n in range(300)], "title": [f"story of {n}" for n in range(300)]}
    users = [f"reader-{n:05d}" for n in range(30)]
    seen = {user: rng.choice(300, 8, replace=False) for user in users}
    rows = {
        "user": [user for user in users for _ in seen[user]],
        "item": [f"film-{n}" for user in users for n in seen[user]],
    }
    store = legorec.Store.from_frames(items, rows, tmp_path / "clicks", text="title", num_negatives=4)
    run = legorec.train(
        store, runs=tmp_path / "runs", epoch=1, batch_size=32, hidden_size=16, embed_hidden_size=16, heads=4
    )
    saved = run.recommender.save(tmp_path / "out")
    whole = b"\0".join(file.read_bytes() for file in sorted(saved.rglob("*")) if file.is_file())
    assert b"film-299" in whole and b"story of 299" in whole
    assert b"reader-" not in whole and b"clicks/" not in whole
    assert str(tmp_path).encode() not in whole and str(Path.home()).encode() + b"/" not in whole
    for user in users:
        places = store.items.index([f"film-{n}" for n in seen[user]])
        for kind in (np.int32, np.int64):
            assert places[:4].astype(kind).tobytes() not in whole
        assert "\n".join(f"film-{n}" for n in seen[user][:3]).encode() not in whole
    moved = legorec.load(saved).data.store
    assert len(moved.users) == len(moved.histories) == len(moved.spans) == 0 and moved.splits == ()


def test_items_that_were_generated_for_a_user_stay_behind(tmp_path):
    plain = legorec.Store.open(write_store(tmp_path / "plain"))
    items = Content.of(plain, plain.items)
    made = [f"generated:reader-{number}:0" for number in range(3)]
    frame = pl.concat([items.frame, items.frame.head(3).with_columns(id=pl.Series(made))])
    with StoreWriter(tmp_path / "store", {"processor": "tests"}, [TokenizerChoice("words")]) as writer:
        writer.items(frame, items.columns, generated=3)
        add_impressions(writer, plain, Pieces.of(plain))
    store = tmp_path / "store"
    run = finish(arguments(store, tmp_path / "runs", model="lego_naml", epoch=1))
    trained = legorec.load(run, device="cpu")
    saved = trained.save(tmp_path / "saved")
    assert not any(b"reader-" in file.read_bytes() for file in saved.rglob("*") if file.is_file())
    moved = legorec.load(saved, device="cpu")
    assert len(moved.data.store.items) == 60
    for history in HISTORIES:  # items are encoded 60 at a time and not 63, which rounds otherwise
        found, wanted = moved.recommend(history, k=60), trained.recommend(history, k=60)
        assert {each.item for each in found} == {each.item for each in wanted}
        scores = [dict(each) for each in (found, wanted)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    by_row = finish(arguments(store, tmp_path / "by-row", model="lego_nrms_id", epoch=1))
    with pytest.raises(ValueError, match="a row for each of 3 items that were generated for single users"):
        legorec.load(by_row, device="cpu").save(tmp_path / "other")


def test_the_card_has_the_metrics_and_what_is_there_decides_what_is_loaded(made, tmp_path):
    text = (made[0] / "lego_naml" / "README.md").read_text()
    config = json.loads((made[0] / "lego_naml" / "config.json").read_text())
    assert f"| test | {config['metrics']['test']['gauc']:.4f} |" in text and "popularity" in text
    assert text.startswith("---\nlibrary_name: legorec\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not the folder of a run"):
        legorec.load(tmp_path / "empty")
    with pytest.raises(ValueError, match="`epoch` is of a run"):
        legorec.load(made[0] / "lego_naml", epoch=0)
    with pytest.raises(ValueError, match="`revision` is of a model on the hub"):
        legorec.load(made[0] / "lego_naml", revision="v1")


def test_what_is_there_is_not_replaced_unasked(made, tmp_path):
    trained = legorec.load(made[0] / "lego_naml", device="cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is no saved model"):
            trained.save(tmp_path / "mine", overwrite)
    trained.save(tmp_path / "model")
    with pytest.raises(ValueError, match="--overwrite"):
        trained.save(tmp_path / "model")
    legorec.load(trained.save(tmp_path / "model", overwrite=True), device="cpu")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine", "model"]


def test_a_catalogue_of_some_thousand_items_loads_within_a_second(tmp_path):
    store = write_store(tmp_path / "store", num_items=2000)
    run = finish(arguments(store, tmp_path / "runs", model="lego_naml", epoch=1))
    saved = legorec.load(run, device="cpu").save(tmp_path / "saved")
    start = time.process_time()
    legorec.load(saved, device="cpu")
    assert time.process_time() - start < 1.0


def test_a_model_that_reads_who_users_are_is_refused(tmp_path):
    store = write_profile_store(tmp_path / "store")
    run = finish(profile_arguments(store, tmp_path / "runs", epoch=1))
    with pytest.raises(ValueError, match="reads who its users are .* holds no users") as told:
        legorec.load(run, device="cpu").save(tmp_path / "saved")
    assert "\n" not in str(told.value) and not (tmp_path / "saved").exists()


def test_a_name_on_the_hub_is_fetched_without_pickles(made, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot_download(name, *, revision, allow_patterns, local_dir):
        asked.append((name, revision))
        assert not any(pattern in ("*", "*.bin", "*.pt", "*.pkl") for pattern in allow_patterns)
        if name.startswith("nobody"):
            raise OSError(f"no such model\nat all: {name}")
        wanted = "lego_naml" if name == "org/naml" else "nothing"
        if wanted == "lego_naml":
            shutil.copytree(made[0] / wanted, local_dir, dirs_exist_ok=True)

    class HfApi:
        def model_info(self, name, *, revision, timeout):
            assert timeout and reachable, "connection refused"

    reachable = [True]
    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    found = legorec.load("org/naml", device="cpu", revision="v2")
    assert asked == [("org/naml", "v2")] and answers(found) == made[1]["lego_naml"]
    reachable.clear()  # it was fetched before
    assert answers(legorec.load("org/naml", device="cpu", revision="v2")) == made[1]["lego_naml"]
    with pytest.raises(ValueError, match="'org/naml' is no folder, .*: connection refused$"):
        legorec.load("org/naml", device="cpu")
    reachable.append(True)
    with pytest.raises(ValueError, match="no saved model of legorec: it has no config.json"):
        legorec.load("org/other")
    with pytest.raises(ValueError, match="the hub does not provide it: no such model$"):
        legorec.load("nobody/none")
    for nowhere in ("a/b/c", "./a/b", "/a/b", "alone"):
        with pytest.raises(ValueError, match="not the folder of a run"):
            legorec.load(nowhere)
    assert len(asked) == 3


@pytest.mark.parametrize("name", ["a b/c", "org/of/name", "org/näme!"])
def test_a_name_that_the_hub_cannot_have_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match="there is no such folder, and a model on the hub is named `org/name`, in"
    ):
        legorec.load(name)
    assert main(["save", name, "--out", "x"]) == 2


def test_a_hub_out_of_reach_is_a_line(monkeypatch, tmp_path, capsys) -> None:
    import huggingface_hub

    def out_of_reach() -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "HfApi", out_of_reach)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "hub"))
    assert main(["save", "org/name", "--out", "x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 'org/name' is no folder, and the hub does not provide it: ")
    assert len(said.splitlines()) == 1
