"""The submission file of the MIND leaderboard: ``ImpressionID [rank,rank,...]``, one line an impression."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from legorec.data.ragged import Ragged
from legorec.data.store import Interactions, Store
from legorec.files.disk import writing
from legorec.shipped import shipped

TEXT, ARCHIVE = "prediction.txt", "prediction.zip"
OF_MIND = ("mind", "unitok")  # processors that read it; one of somebody's own may, too
BLOCK = 4096  # impressions that are text at a time


def candidate_ranks(candidates: Ragged, score: np.ndarray) -> np.ndarray:
    """(R,) the rank of each candidate within its row, 1 for the best; ties in stored order."""
    order = np.lexsort((-score, candidates.rows))  # stable
    ranks = np.empty(len(score), dtype=np.uint32)
    ranks[order] = candidates.places + 1
    return ranks


def check_submission(store: Store, split: str) -> None:
    """Refuse a split that is incomplete, or whose impressions cannot be told apart.

    Raises:
        ValueError: the store is of other data; impressions or candidates were dropped when it was written:
            the leaderboard counts both; or an id is missing, stands twice or has a space.
    """
    made_by = store.manifest["made_with"].get("processor")
    others = {file.stem for file in shipped("process").glob("*.py")} - {*OF_MIND}
    if made_by in others:
        raise ValueError(
            f"{store.path}: a submission is for the leaderboard of MIND, and this store was made by the "
            f"processor {made_by}; scores of other data are written with --exp config/exp/predict.yaml"
        )
    dropped = store.manifest.get("dropped", {})
    counts = {
        place: count["missing"]
        for place, count in dropped.get("ids", {}).get(split, {}).items()
        if place in ("item ids in candidates", "user ids")
    }
    place = f"impressions without known candidates ({split})"
    counts[place] = dropped.get("rows", {}).get(place, 0)
    if any(counts.values()):
        told = ", ".join(f"{place}: {count:,}" for place, count in counts.items() if count)
        raise ValueError(
            f"{store.path}, split '{split}': a submission must rank every candidate of every impression, and "
            f"some were dropped when the store was written ({told}); process the data again with all items"
        )
    strings = store.interactions(split).ids
    if strings is None:
        return
    ids = strings.series()
    wrong = ids.filter(ids.is_duplicated() | (ids == "") | ids.str.contains(r"\s"))
    if len(wrong):
        raise ValueError(
            f"{store.path}, split '{split}': a submission names each impression by an id of its own without "
            f"spaces; {len(wrong):,} of {len(ids):,} are not such, e.g. '{wrong[0]}'; give the impressions "
            "other ids, or none, and process the data again"
        )


def numbered(shown: Interactions) -> tuple[list[str], np.ndarray]:
    """The ids of the lines, and which impression each of them is.

    Raw ids, in ascending order where all are numbers, as MIND's are, otherwise as stored; without raw ids the
    places in the split, from 1 as MIND's.
    """
    if shown.ids is None:
        return [str(number) for number in range(1, len(shown) + 1)], np.arange(len(shown))
    ids = shown.ids.series()
    order = np.arange(len(shown))
    if ids.str.contains(r"^[0-9]{1,18}$").all():
        order = np.argsort(ids.cast(pl.Int64).to_numpy(), kind="stable")
    return ids.gather(order).to_list(), order


def lines(shown: Interactions, ranks: np.ndarray) -> Iterator[str]:
    """The text in blocks of lines.

    Args:
        ranks: (R,) of the candidates, in stored order.
    """
    ids, order = numbered(shown)
    rows = Ragged(ranks, shown.candidates.offsets)
    for start in range(0, len(ids), BLOCK):
        block = rows.take(order[start : start + BLOCK])
        values, offsets = block.values.tolist(), block.offsets.tolist()
        yield "".join(
            f"{name} {str(values[first:last]).replace(' ', '')}\n"
            for name, first, last in zip(ids[start : start + BLOCK], offsets, offsets[1:], strict=False)
        )


def num_bytes(shown: Interactions, ranks: np.ndarray) -> int:
    """How large the text is."""
    digits = len(ranks) + sum(int((ranks >= 10**power).sum()) for power in range(1, 10))
    ids = sum(len(name.encode()) for name in numbered(shown)[0])
    # Each line has a space, two brackets and its end, and a comma less than it has ranks.
    return ids + digits + len(ranks) + 3 * len(shown)


def write_submission(folder: Path, shown: Interactions, ranks: np.ndarray) -> None:
    """``prediction.txt``, and ``prediction.zip`` with this one file in it, the same bytes for the same ranks.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    text, archive = folder / TEXT, folder / ARCHIVE
    with writing(text, lambda: num_bytes(shown, ranks)):
        with open(text, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines(shown, ranks))
    member = zipfile.ZipInfo(TEXT)  # its date is fixed
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    member.file_size = text.stat().st_size  # a large one takes another header
    with writing(archive, member.file_size, "at most "):
        with open(text, "rb") as source, zipfile.ZipFile(archive, "w") as target:
            with target.open(member, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
