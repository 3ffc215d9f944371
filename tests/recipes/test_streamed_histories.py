"""Recommendations for the histories of a file: in blocks, as one call gives them, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import legorec
from legorec.program import main
from legorec.recipes import streamed_histories
from legorec.recipes.trained_recommender import TrainedRecommender
from tests.recipes.test_recommending_many import some_histories
from tests.support.runs import arguments, finish, write_store

HISTORIES = some_histories(23)
READ = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streamed")
    return finish(arguments(write_store(folder / "store"), folder / "runs", epoch=1))


def table(lists: bool) -> pl.DataFrame:
    history = HISTORIES if lists else [" ".join(each) for each in HISTORIES]
    return pl.DataFrame(
        {"user": [f"p{n % 5}" for n in range(23)], "history": history, "note": list(range(23))}
    )


def write(path: Path) -> Path:
    if path.suffix == ".parquet":
        table(lists=True).write_parquet(path)
    elif path.suffix == ".csv":
        table(lists=False).write_csv(path)
    else:
        table(lists=True).write_ndjson(path)
    return path


@pytest.mark.parametrize("given", READ)
@pytest.mark.parametrize("out", READ)
def test_a_file_is_answered_as_its_histories_are(
    run: Path, tmp_path: Path, given: str, out: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(streamed_histories, "BLOCK", 4)
    recommend, sizes = TrainedRecommender.recommend, []

    def counted(self: Any, histories: Any, *more: Any, **how: Any) -> Any:
        sizes.append(len(histories))
        return recommend(self, histories, *more, **how)

    file, target = write(tmp_path / f"live{given}"), tmp_path / f"recs{out}"
    with monkeypatch.context() as patched:
        patched.setattr(TrainedRecommender, "recommend", counted)
        assert (
            main(["predict", str(run), "--histories", str(file), "--top_k", "3", "--out", str(target)]) == 0
        )
    assert max(sizes) == 4 and sum(sizes) == 23
    found = READ[out](target)
    assert found.columns == ["user", "note", "item", "score", "rank", "by"]
    wanted = legorec.load(run, device="cpu").recommend(HISTORIES, 3)
    assert found["item"].to_list() == [one.item for each in wanted for one in each]
    assert found["score"].to_list() == pytest.approx([one.score for each in wanted for one in each], abs=1e-6)
    assert found["note"].cast(pl.String).to_list() == [str(n) for n in range(23) for _ in range(3)]
    assert found["by"].to_list() == [each.by for each in wanted for _ in each]
    assert f"{sum(not each for each in HISTORIES)} of them empty" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file.name, target.name])


def test_without_other_columns_rows_are_counted(run: Path, tmp_path: Path) -> None:
    trained = legorec.load(run, device="cpu")
    table(lists=True).select("history").write_parquet(tmp_path / "a.parquet")
    done = streamed_histories.answer_file(trained, tmp_path / "a.parquet", tmp_path / "b.csv", 2)
    assert done.histories == 23 and done.rows == 46
    assert pl.read_csv(tmp_path / "b.csv")["row"].to_list() == [n for n in range(23) for _ in range(2)]


def test_nothing_is_there_after_an_error(run: Path, tmp_path: Path, capsys: Any) -> None:
    late = pl.DataFrame({"history": [*HISTORIES, ["i1", "nobody"]]}, schema={"history": pl.List(pl.String)})
    late.write_parquet(tmp_path / "live.parquet")
    ask = ["predict", str(run), "--histories", str(tmp_path / "live.parquet"), "--out"]
    for name in ("recs.parquet", "recs.csv"):
        assert main([*ask, str(tmp_path / name)]) == 2
        assert "first 'nobody'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["live.parquet"]
    assert main([*ask, str(tmp_path / "recs.csv"), "--unknown", "skip"]) == 0
    assert "1 unknown clicks were skipped" in capsys.readouterr().out
    assert main([*ask, str(tmp_path / "recs.csv")]) == 2
    assert "is there; take another name, or --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("frame", "name", "out", "message"),
    [
        ({"clicks": ["i1"]}, "a.csv", "b.csv", "it has no column `history`"),
        ({"history": ["i1"], "score": [1]}, "a.csv", "b.csv", "a column 'score' would be there twice"),
        ({"history": ["i1"]}, "a.csv", "b.txt", "must end in .parquet, .csv, .jsonl"),
        ({"history": ["i1"]}, "a.xls", "b.csv", "must end in .parquet, .csv, .tsv, .jsonl"),
        ({"history": []}, "a.csv", "b.csv", "it holds no history"),
    ],
)
def test_what_cannot_be_read_is_a_message(
    run: Path, tmp_path: Path, frame: Any, name: str, out: str, message: str
) -> None:
    pl.DataFrame(frame).write_csv(tmp_path / name)
    trained = legorec.load(run, device="cpu")
    with pytest.raises(ValueError, match=message):
        streamed_histories.answer_file(trained, tmp_path / name, tmp_path / out, 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
