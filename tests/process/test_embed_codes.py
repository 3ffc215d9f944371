"""Semantic codes from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from legorec.data.residual_kmeans import residual_kmeans
from legorec.data.store import Store
from legorec.data.vectors import ITEMS, NewTable, Rows, sizes_stated_in
from legorec.settings import EmbedSettings
from process.embed import main
from tests.process.test_embed import line
from tests.support.raw_files import ROOT, refusal
from tests.support.small_store import write

VECTORS = torch.tensor([[9.0, 1.0], [9.0, 0.0], [0.0, 5.0], [0.0, 6.0], [9.0, 1.0]])
SMALL: dict[str, Any] = {"levels": 2, "size": 2}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store")


@pytest.fixture
def table(tmp_path: Path, store: Store) -> Path:
    """Vectors of the five items, as `items` writes them; those of the first and the last are the same."""
    made = NewTable("v", ITEMS, tmp_path / "vectors", tmp_path / "vectors", "")
    made.write(VECTORS, Rows.of_items(store))
    return made.path


def written(tmp_path: Path) -> Path:
    return tmp_path / "tables" / "t.safetensors"


def codes(tmp_path: Path) -> torch.Tensor:
    return load_file(written(tmp_path))["codes"]


def test_codes_of_a_table(
    tmp_path: Path, store: Store, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(line(tmp_path, "codes", vectors=table, seed=3, **SMALL))
    said = capsys.readouterr()
    expected = residual_kmeans(VECTORS, 2, 2, 3)
    assert codes(tmp_path).dtype == torch.int32
    assert np.array_equal(codes(tmp_path).numpy(), expected.codes)
    assert Rows.stated_in(written(tmp_path)) == Rows.of_items(store)
    assert sizes_stated_in(written(tmp_path)) == (2, 2)
    layer = EmbedSettings(**yaml.safe_load((tmp_path / "layers" / "t.yaml").read_text()))
    assert layer.codes is not None and layer.codes.path == str(written(tmp_path)) and not layer.tables
    assert f"5 items, 2 levels; --embed {tmp_path}/layers/t.yaml" in said.out
    for level, left in enumerate(expected.left, 1):
        assert f"level {level}: 2 of 2 codes used, {left:.1%} of the variance left" in said.out
    assert "2 items share all these codes with another\n" in said.out and "--store" not in said.out
    assert "clusters of level 2 of 2" in said.err


def test_a_further_level_tells_apart(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*line(tmp_path, "codes", vectors=table, **SMALL), "--unique"])
    found = codes(tmp_path)
    assert "2 items share all these codes with another; level 3 with 2 tells them apart" in (
        capsys.readouterr().out
    )
    assert found[:, 2].tolist() == [0, 0, 0, 0, 1] and len(found.unique(dim=0)) == 5
    assert sizes_stated_in(written(tmp_path)) == (2, 2, 2)
    main([*line(tmp_path, "codes", vectors=table, levels=1, size=5), "--overwrite"])
    assert "level 1: 4 of 5 codes used, 0.0% of the variance left" in capsys.readouterr().out
    assert sizes_stated_in(written(tmp_path)) == (5,)


def test_nothing_to_tell_apart_is_no_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", VECTORS.numpy()[:4])
    main([*line(tmp_path, "codes", vectors=tmp_path / "v.npy", **SMALL), "--unique"])
    out = capsys.readouterr().out
    assert "4 items, 2 levels" in out and "0 items share all these codes with another\n" in out
    assert codes(tmp_path).shape == (4, 2)


def test_vectors_that_say_nothing(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """They are written as such, unless a store is named."""
    np.save(tmp_path / "v.npy", VECTORS.numpy())
    argv = line(tmp_path, "codes", vectors=tmp_path / "v.npy", **SMALL)
    main(argv)
    assert "nothing says whose items they are" in capsys.readouterr().out
    assert Rows.stated_in(written(tmp_path)) is None and sizes_stated_in(written(tmp_path)) == (2, 2)
    main([*argv, "--overwrite", "--store", str(store.path)])
    assert "nothing says" not in capsys.readouterr().out
    assert Rows.stated_in(written(tmp_path)) == Rows.of_items(store)


def test_vectors_of_an_export(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """They are held against the raw ids beside them."""
    file = tmp_path / "items.safetensors"
    save_file({"vectors": VECTORS}, file)
    ids = store.items.ids.series()
    ids.to_frame().write_parquet(tmp_path / "item_ids.parquet")
    argv = line(tmp_path, "codes", vectors=file, store=store.path, **SMALL)
    main(argv)
    assert Rows.stated_in(written(tmp_path)) == Rows.of_items(store)
    pl.DataFrame({"id": ids.to_list()[::-1]}).write_parquet(tmp_path / "item_ids.parquet")
    said = refusal(main, [*argv, "--overwrite"], capsys)
    assert f"items.safetensors: it holds 5 vectors of other items than those of {store.path}" in said


def test_refusals(tmp_path: Path, table: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    def said(**flags: Any) -> str:
        return refusal(main, line(tmp_path, "codes", **{"vectors": table, **flags}), capsys)

    def saved(**tensors: torch.Tensor) -> Path:
        save_file(tensors, tmp_path / "x.safetensors")
        return tmp_path / "x.safetensors"

    assert "`size` must be at most the number of vectors (5), got 256" in said()
    assert "`levels` must be at least 1, got 0" in said(size=2, levels=0)
    assert f"{tmp_path}/none: there is no such file of vectors" in said(vectors=tmp_path / "none")
    assert "there is no such folder" in said(store=tmp_path / "none")
    assert "must hold one tensor, it holds 2" in said(vectors=saved(a=VECTORS, b=VECTORS.clone()))
    whole = "must hold a matrix of floats, one row for each item; it holds (5, 2) of torch.int32"
    assert whole in said(vectors=saved(a=VECTORS.int()))
    other = f"it holds 4 vectors of other items than those of {store.path}"
    assert other in said(vectors=saved(a=VECTORS[:4]), store=store.path)
    assert "`vectors` must be finite, row 1 is not" in said(vectors=saved(a=VECTORS.log()), size=2)
    (tmp_path / "bad.npy").write_bytes(b"no")
    assert "no plain .npy matrix (a pickled one is refused)" in said(vectors=tmp_path / "bad.npy")
    (tmp_path / "bad.txt").write_text("1 2 3")
    assert "bad.txt cannot be read: " in said(vectors=tmp_path / "bad.txt")
    assert "unknown argument --level; did you mean --levels?" in said(level=3)
    assert not (tmp_path / "tables").exists() and not (tmp_path / "layers").exists()
    main(line(tmp_path, "codes", vectors=table, **SMALL))
    again = refusal(main, line(tmp_path, "codes", vectors=table, **SMALL), capsys)
    assert "t.safetensors: it exists; give another --name, or --overwrite to replace it" in again


def test_a_table_of_other_items_is_refused(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = NewTable("other", ITEMS, tmp_path, tmp_path, "")
    made.write(VECTORS, Rows(5, "other"))
    said = refusal(main, line(tmp_path, "codes", vectors=made.path, store=store.path, **SMALL), capsys)
    assert "it holds 5 vectors of other items" in said


def test_a_layer_of_the_same_meaning_stays(tmp_path: Path, table: Path) -> None:
    layer = tmp_path / "layers" / "t.yaml"
    layer.parent.mkdir()
    layer.write_text(f"# mine\nname: t\ncodes: {{path: {written(tmp_path)}}}\n")
    main(line(tmp_path, "codes", vectors=table, **SMALL))
    assert layer.read_text().startswith("# mine")


def test_the_layer_of_the_repository_is_as_written(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["codes", "--vectors", str(table), "--levels", "2", "--size", "2", "--name", "semantic-codes"])
    path = "config/embed/semantic-codes.yaml"
    assert Path(path).read_text() == (ROOT / path).read_text()
