"""Write the scores of a trained run: of impressions, of pairs, or the best items for each user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from legorec.data.evaluation import Impressions
from legorec.data.latest import latest_spans
from legorec.data.raw.fields import lists_as_json
from legorec.engine.stopping import StopRequest
from legorec.files.disk import writing
from legorec.files.whole import all_or_none
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.pairs import Pairs, read_pairs
from legorec.recipes.inputs.served import Served, served
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.measure import ranked
from legorec.recipes.outputs.recommendations import BY_MODEL, BY_POPULARITY
from legorec.recipes.outputs.session import Session, open_session
from legorec.recipes.outputs.submission import (
    ARCHIVE,
    TEXT,
    candidate_ranks,
    check_submission,
    write_submission,
)
from legorec.recipes.ranked_histories import top_popular
from legorec.scorers.top_items import TopItems
from legorec.settings.exp_layer import PredictSettings

if TYPE_CHECKING:
    from legorec.settings import Settings

FILES = {"parquet": ["predictions.parquet"], "csv": ["predictions.csv"], "mind": [TEXT, ARCHIVE]}
PARTIAL = "predict.tmp-"


@dataclass(frozen=True)
class Predictions:
    """A table, some columns of which hold rows of ``names`` in place of raw ids, which take more room."""

    table: pl.DataFrame
    names: Mapping[str, pl.Series] = field(default_factory=dict)

    def lazy(self, check: Callable[[], None]) -> pl.LazyFrame:
        """The table with raw ids, which are looked up block by block while it is written.

        Args:
            check: called before each block; may raise.
        """
        return self.table.lazy().with_columns(
            _named(column, ids, check) for column, ids in self.names.items()
        )

    def with_texts(self) -> Predictions:
        """With lists as JSON, as a file of pairs may hold them."""
        return Predictions(lists_as_json(self.table), self.names)

    def num_bytes(self) -> int:
        """The size of the table with raw ids in memory; a file is about as large, or smaller."""
        lengths = [
            ids.str.len_bytes().to_numpy()[self.table[name].to_numpy()] for name, ids in self.names.items()
        ]
        return int(self.table.estimated_size() + sum(int(each.sum()) for each in lengths))


def predict(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Score what ``exp.predict`` asks for with the best epoch of ``exp.load``, into the run folder.

    The candidates of a split (``predictions.parquet`` or ``.csv``, or ``prediction.txt`` and ``.zip`` in
    MIND's format), the ``top_k`` best items of the store for each user of a split, or the pairs of a file.
    The files appear when all are written, ``metrics.json`` last. Several processes share the work,
    and the first one writes.

    Raises:
        ValueError: something the user can mend; scores that are NaN.
        OSError: the disk is full, or may not be written.
        Interrupted: the process was asked to stop; none of the files is there.
    """
    asked = settings.exp.predict or PredictSettings()
    split = asked.split or "test"
    with processes.agreeing():
        device = choose_device(settings.device, processes)
        found = served(settings, device, [] if asked.pairs else [split])
        data = found.data
        pairs = read_pairs(Path(asked.pairs), data, asked.max_missing) if asked.pairs else None
        stored = getattr(data.settings.splits, split)
        if pairs is None and not len(data.impressions(split)):
            raise ValueError(f"{data.store.path}: split '{stored}' holds no impression")
        if asked.format == "mind":
            if data.rules(split):
                raise ValueError(
                    "`data.filters` must be empty where exp.predict.format is 'mind': a submission ranks "
                    f"every impression of the split; got filters for {split}"
                )
            check_submission(data.store, stored)
        loaded = found.load(Path(settings.exp.load or ""), settings.exp.load_epoch)
    with open_session(settings, processes) as session:
        session.log(f"{session.folder.path}  on {device}, weights of {loaded}")
        for line in found.said:
            session.log(line)
        if pairs is not None:
            scored = of_pairs(found, pairs, settings, session)
        elif asked.top_k is not None:
            scored = of_users(found, split, asked.top_k, session)
        else:
            scored = of_split(found, split, settings, session)
        with processes.agreeing():
            if processes.is_first:
                write(session.folder.path, scored, asked.format, data, stored, session.stop)
        metrics: dict[str, Any] = {"files": FILES[asked.format], "rows": len(scored.table)}
        metrics |= {"split": stored} if pairs is None else {"pairs": asked.pairs, **pairs.counts}
        session.folder.write_metrics({"predict": metrics})
        for name in FILES[asked.format]:
            session.log(f"wrote {session.folder.path / name}: {len(scored.table):,} scores")
        return {"predict": metrics}


def of_split(found: Served, split: str, settings: Settings, session: Session) -> Predictions:
    """The candidates of a split in stored order; ranks within the impression, ties in stored order."""
    impressions = found.data.impressions(split)
    shown = impressions.interactions
    score = _ranked(found, impressions, split, settings, session)
    row = shown.candidates.rows
    table = pl.DataFrame(
        {
            "impression": (row if shown.ids is not None else shown.numbers[row]).astype(np.uint32),
            "user": np.asarray(shown.user, dtype=np.uint32)[row],
            "item": np.asarray(shown.candidates.values, dtype=np.uint32),
            "score": score,
            "rank": candidate_ranks(shown.candidates, score),
        }
    )
    names = _names(found.data)
    return Predictions(table, names | ({} if shown.ids is None else {"impression": shown.ids.series()}))


def of_pairs(found: Served, pairs: Pairs, settings: Settings, session: Session) -> Predictions:
    """The rows of a file as they stand there; ranks among those of one user, and history where one is given.

    A row whose item is not in the store has neither score nor rank.
    """
    score = _ranked(found, pairs.impressions, "pairs", settings, session)
    count = len(pairs.table)
    scores, ranks = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.uint32)
    scores[pairs.row] = score
    ranks[pairs.row] = candidate_ranks(pairs.impressions.interactions.candidates, score)
    known = np.zeros(count, dtype=bool)
    known[pairs.row] = True
    values = pl.DataFrame({"score": scores, "rank": ranks})
    return Predictions(
        pairs.table.hstack(values.select(pl.when(pl.Series(known)).then(pl.all())).get_columns())
    )


def of_users(found: Served, split: str, k: int, session: Session) -> Predictions:
    """The ``k`` best items of the store for each user of a split, best first; clicked ones are left out.

    As in ``recommend``, a user without a click whom the model does not know gets what most users clicked.
    """
    data = found.data
    latest = latest_spans([data.interactions(split)], data.histories, len(data.store.users))
    users = np.flatnonzero(latest >= 0)
    top = found.top(users, latest[users], k, session)
    _check(top.score)
    by_model = _popular_to_strangers(found, latest[users], top)
    left = np.isfinite(top.score) | (top.score > 0)  # all but -inf: an item that was clicked
    place = np.broadcast_to(np.arange(1, top.score.shape[1] + 1, dtype=np.uint32), left.shape)
    table = pl.DataFrame(
        {
            "user": np.repeat(users, left.sum(1)).astype(np.uint32),
            "item": top.item[left].astype(np.uint32),
            "score": top.score[left],
            "rank": place[left],
            "by": np.where(by_model, BY_MODEL, BY_POPULARITY).repeat(left.sum(1)),
        }
    )
    return Predictions(table, _names(data))


def _popular_to_strangers(found: Served, spans: np.ndarray, top: TopItems) -> np.ndarray:
    """Put popular items where nothing is known of a user; (n,) True where the model's stay."""
    strangers = found.data.histories.lengths[spans] == 0
    if getattr(found.model, "reads_user", False) or not strangers.any():
        return np.ones(len(spans), dtype=bool)
    shown, k = np.arange(found.data.num_real), top.score.shape[1]
    popular = top_popular(found.data, shown, k, int(strangers.sum()))
    if popular is None:
        return np.ones(len(spans), dtype=bool)
    top.item[strangers], top.score[strangers] = popular
    return ~strangers


def _ranked(
    found: Served, impressions: Impressions, title: str, settings: Settings, session: Session
) -> np.ndarray:
    """(R,) the scores of all candidates, as in evaluation."""
    ranking = ranked(title, found.scorer(impressions, title), settings, session)
    _check(ranking.score)
    return ranking.score


def _check(score: np.ndarray) -> None:
    if num_nan := int(np.isnan(score).sum()):
        raise ValueError(
            f"{num_nan:,} of {score.size:,} scores are NaN and cannot be ranked; look for what made "
            "them in the weights of --load, or try --precision fp32"
        )


def _names(data: Data) -> dict[str, pl.Series]:
    return {"user": data.store.users.ids.series(), "item": data.store.items.ids.series()}


def _named(column: str, ids: pl.Series, check: Callable[[], None]) -> pl.Expr:
    def gathered(rows: pl.Series) -> pl.Series:
        check()
        return ids.gather(rows)

    return pl.col(column).map_batches(gathered, return_dtype=pl.String, is_elementwise=True)


def write(folder: Path, found: Predictions, form: str, data: Data, split: str, stop: StopRequest) -> None:
    """Put predictions into a folder, all files or none; those of an earlier run are replaced.

    Args:
        split: as the store names it, where the candidates of one were scored.

    Raises:
        OSError: the disk is full, or may not be written.
        Interrupted: the process was asked to stop meanwhile; nothing is there.
    """
    with all_or_none(folder, PARTIAL) as partial, stop.anywhere():
        if form == "mind":
            shown = data.store.interactions(split)
            write_submission(partial, shown, found.table["rank"].to_numpy())
        else:
            _write_table(found, partial / FILES[form][0], stop)


def _write_table(found: Predictions, file: Path, stop: StopRequest) -> None:
    found = found.with_texts() if file.suffix == ".csv" else found
    table = found.lazy(stop.check_here)
    with writing(file, found.num_bytes, "about "):
        if file.suffix == ".csv":
            table.sink_csv(file)
        else:
            table.sink_parquet(file)
