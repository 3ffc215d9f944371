"""Merge what a language model answered into a new store, as ``process/enrich.py merge`` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.data.store import Store
from legorec.data.writing.progress import Progress
from legorec.engine.log import RunLog
from legorec.processes import ALONE, Processes
from legorec.settings.scheme_file import read_scheme
from legorec.texts import merging
from legorec.texts.answers import answers_of

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.generate import MergeSettings


def merge(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Write the store, in the first of the processes.

    There is no run folder: the store is the result, and says what it was made from. It is there as a whole or
    not at all.

    Returns: what came of the answers.
    Raises:
        ValueError: something the user can mend.
        WriteError: the disk is full or not writable.
    """
    asked, log = block_of(settings), RunLog(silent=not processes.is_first)
    counts: dict[str, Any] = {}
    with processes.agreeing():
        if processes.is_first:
            out = Path(asked.out)
            if not merging.merge(merge_of(settings, log), out, settings.overwrite, Progress.on_stderr()):
                log(f"{out}: it carries this generation already; nothing was changed")
            counts = Store.open(out).manifest["generations"][-1]["counts"]
            log(f"{out}: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count)}")
    return dict(processes.from_first(counts))


def is_finished(settings: Settings) -> bool:
    """Whether the store is there, made from just these answers and this store."""
    out = Path(block_of(settings).out)
    return out.is_dir() and merging.is_merged(merge_of(settings, RunLog(silent=True)), out)


def merge_of(settings: Settings, say: RunLog) -> merging.Merge:
    """What is merged into what.

    Raises:
        ValueError: the store, a log or the scheme is missing or wrong.
    """
    asked = block_of(settings)
    logs = [Path(each) for each in asked.log]
    file = logs[0].with_suffix(".settings.yaml") if asked.scheme is None else Path(asked.scheme)
    if asked.scheme is None and not file.is_file():
        raise ValueError(
            f"no file {file}, as a run in mode generate leaves it; name one with exp.merge.scheme"
        )
    scheme = read_scheme(file)
    answers = answers_of(scheme, logs, asked.template, say)
    by_row, train = asked.ids == "rows", settings.data.splits.train
    store = Store.open(Path(settings.data.store))
    return merging.Merge(store, scheme, scheme.model_dump(), answers, by_row, asked.max_missing, train)


def block_of(settings: Settings) -> MergeSettings:
    """The block of the mode, which the settings do not let it be without."""
    assert settings.exp.merge is not None
    return settings.exp.merge
