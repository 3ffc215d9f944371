"""The impressions of one split on their way into a store."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from legorec.data.histories import Histories
from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged
from legorec.data.strings import Strings
from legorec.data.writing.arrays import GrowingArray, GrowingRagged, write_arrays
from legorec.data.writing.spans import HistoryPool, Windows, held, laid_out

TRAIN = "train"


class SplitParts:
    """Takes impressions chunk by chunk and keeps them in files.

    Args:
        folder: for these files; it must not exist yet.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.user = GrowingArray(folder / "user", np.int32)
        self.windows = Windows(folder)
        self.candidates = GrowingRagged(folder / "candidates", np.int32)
        self.labels = GrowingArray(folder / "labels", np.uint8)
        self.ids: GrowingRagged | None = None
        self.time: GrowingArray | None = None
        self.labelled = True
        self.num_clicked = 0
        self.without_candidates = 0
        self._given: dict[str, bool] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def append(
        self,
        user: np.ndarray,
        window: Sequence[np.ndarray],
        candidates: Ragged,
        labels: np.ndarray | None,
        ids: pl.Series | None,
        time: pl.Series | None,
    ) -> None:
        """Add a chunk; ``window`` is piece, start and stop.

        Raises:
            StoreError: it has labels, ids or times and an earlier chunk had none, or the reverse.
        """
        given = {"labels": labels is not None, "ids": ids is not None, "time": time is not None}
        if self._given is None:
            self._given, self.labelled = given, labels is not None
            self.ids = GrowingRagged(self.folder / "ids", np.uint8) if ids is not None else None
            self.time = GrowingArray(self.folder / "time", np.int64) if time is not None else None
        if mixed := [name for name in given if given[name] != self._given[name]]:
            raise StoreError(f"split '{self.name}': all of its chunks must have `{mixed[0]}`, or none")
        self.user.append(user)
        self.windows.append(*window)
        self.candidates.append(candidates)
        labels = np.zeros(len(candidates.values), dtype=np.uint8) if labels is None else labels
        self.labels.append(labels)
        self.num_clicked += int(labels.sum())
        if self.ids is not None and ids is not None:
            self.ids.append(Strings.pack(ids).packed)
        if self.time is not None and time is not None:
            self.time.append(time.cast(pl.Int64).to_numpy())

    @property
    def facts(self) -> dict[str, Any]:
        """Its part of the manifest."""
        return {
            "count": len(self),
            "candidates": len(self.candidates.values),
            "positives": self.num_clicked,
            "labelled": self.labelled,
        }

    def clicked_before(self, spans: np.ndarray, clicks: np.ndarray) -> int:
        """How many of its clicks stand in their own history.

        Args:
            spans: (impressions, 2) start and stop of each history in ``clicks``.
        """
        places = np.flatnonzero(self.labels.mapped())
        rows = np.searchsorted(self.candidates.offsets.mapped(), places, side="right") - 1
        return int(held(clicks, spans[rows], self.candidates.values.mapped()[places]).sum())

    def write(self, path: Path, span: GrowingArray) -> None:
        """The arrays of the split's file; ``span`` is that of each impression."""
        arrays = {
            "user": self.user,
            "span": span,
            "candidates": self.candidates.values,
            "candidates.offsets": self.candidates.offsets,
            "labels": self.labels,
        }
        if self.ids is not None:
            arrays |= {"ids.values": self.ids.values, "ids.offsets": self.ids.offsets}
        if self.time is not None:
            arrays["time"] = self.time
        write_arrays(path, {name: array.whole() for name, array in arrays.items()})


def write_interactions(
    folder: Path,
    scratch: Path,
    pool: HistoryPool,
    splits: Collection[SplitParts],
    num_items: int,
    marks: tuple[Ragged, Sequence[str]] | None = None,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Write the histories and the splits of a store, and remove the files that held them in ``scratch``.

    Args:
        marks: of the clicks of every user, and what they are called, see ``StoreWriter.sequences``.

    Returns: the items that the train split shows, or None without one; and their parts of the manifest.
    """
    clicks = GrowingArray(scratch / "clicks", np.int32)
    layout = pool.pack([parts.windows for parts in splits], clicks)
    spans = layout.spans
    histories: dict[str, Any] = {"clicks": len(clicks), "spans": len(spans)}
    arrays: dict[str, Any] = {"clicks": clicks.whole(), "spans": spans}
    if marks is not None:
        arrays["marks"] = laid_out(marks[0], layout, len(clicks))
        histories["marks"] = list(marks[1])
    write_arrays(folder / "histories.safetensors", arrays)
    facts: dict[str, Any] = {}
    visible = None
    for parts in splits:
        span, used = GrowingArray(parts.folder / "span", np.int32), np.zeros(len(spans), dtype=bool)
        for block in layout.spans_of(parts.windows):
            span.append(block)
            used[block] = True
        if parts.name == TRAIN:
            visible = Histories(clicks.mapped(), spans).used_items(np.flatnonzero(used), num_items)
            for block in parts.candidates.values.blocks():
                visible[block] = True
        parts.write(folder / "interactions" / f"{parts.name}.safetensors", span)
        facts[parts.name] = parts.facts
        if parts.name != TRAIN and parts.labelled:
            known = parts.clicked_before(spans[span.mapped()], clicks.mapped())
            facts[parts.name]["clicked_before"] = known
        shutil.rmtree(parts.folder)
    shutil.rmtree(scratch)
    return visible, {"histories": histories, "interactions": facts}
