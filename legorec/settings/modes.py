"""The modes of a run: one row for each value of ``exp.mode``.

All that depends on a mode reads this table; nothing else compares the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mode:
    """One mode: its recipe, and what it reads, needs and leaves.

    Args:
        about: what the mode does, for ``--help`` and the docs.
        recipe: ``module:function`` below ``legorec.recipes``, called with the settings and the processes.
        families: the families of models that it can work on.
        learns: it trains, so that it reads the split ``train``.
        measures: the splits whose metrics it takes; the last one's are its result.
        loads: whether ``exp.load`` names the run whose weights it starts from.
        block: the block of ``exp`` that it reads.
        needs: an example of the block, where there is nothing to do without it.
        users: what the user encoder must give; anything will do where it is empty.
        keeps_folder: it has a run folder, and ``--resume`` goes on with one that was stopped. Another mode
            goes on by itself, or begins anew.
        reads: the layers that it reads beside ``exp``. One that it does not read is refused.
        foresees: ``module:function`` below ``legorec.recipes``, called with the settings, whose text
            ``--dry_run`` adds to them.
        makes: the end of the place of the setting that names what it makes; None: the folder of the run.
        finished: ``module:function`` below ``legorec.recipes``, called with the settings, that answers
            whether that is complete; None: it is when the folder of the run holds ``metrics.json``.
    """

    name: str
    about: str
    recipe: str
    families: tuple[str, ...] = ("tower",)
    learns: bool = False
    measures: tuple[str, ...] = ()
    loads: Literal["no", "may", "must"] = "no"
    block: str | None = None
    needs: str | None = None
    users: tuple[str, ...] = ()
    keeps_folder: bool = True
    reads: tuple[str, ...] = ("data", "embed", "model")
    foresees: str | None = None
    makes: str | None = None
    finished: str | None = None


MODES = {
    each.name: each
    for each in (
        Mode(
            "train",
            "train, and measure the best epoch on dev",
            "train:train",
            families=("tower", "prompted", "calrec", "adapted", "aligned"),
            learns=True,
            measures=("dev",),
        ),
        Mode(
            "dev",
            "measure a trained run on dev",
            "train:train",
            families=("tower", "prompted", "calrec", "asked"),
            measures=("dev",),
            loads="must",
        ),
        Mode(
            "test",
            "measure a trained run on test",
            "train:train",
            families=("tower", "prompted", "calrec", "asked"),
            measures=("test",),
            loads="must",
        ),
        Mode(
            "train_test",
            "train, and measure the best epoch on test",
            "train:train",
            families=("tower", "prompted", "calrec"),
            learns=True,
            measures=("dev", "test"),
        ),
        Mode(
            "predict",
            "write scores, ranks or the best items of a trained run as files",
            "predict:predict",
            families=("tower", "prompted"),
            loads="must",
            block="predict",
        ),
        Mode(
            "cache",
            "cache the states of a language model's lower layers",
            "cache:cache",
            block="cache",
            needs="{layers: [-1, -2]}",
            keeps_folder=False,
            makes="source.cache",
            finished="cache:is_cached",
        ),
        Mode(
            "size",
            "print parameters, memory and disk that a training takes",
            "size:size",
            families=("tower", "prompted"),
            block="cache",
            keeps_folder=False,
        ),
        Mode(
            "export",
            "write the vectors of items and users of a trained run as files",
            "export:export",
            loads="must",
            users=("vector", "interests"),
        ),
        Mode(
            "find_lr",
            "find a learning rate by one short sweep",
            "find_lr:find_lr",
            families=("tower", "prompted"),
            learns=True,
            block="sweep",
            keeps_folder=False,
        ),
        Mode(
            "latency",
            "time single requests",
            "latency:latency",
            families=("tower", "prompted"),
            loads="may",
            block="latency",
        ),
        Mode(
            "prompt",
            "print the prompt of one example, segment by segment",
            "print_prompt:print_prompt",
            families=("prompted",),
            block="prompt",
            keeps_folder=False,
        ),
        Mode(
            "generate",
            "ask a language model for texts about items and users",
            "generate:generate",
            families=(),
            block="generate",
            needs="{scheme: {...}, generator: {...}, parameters: {max_tokens: 100}, log: answers.jsonl}",
            keeps_folder=False,
            reads=("data",),
            foresees="generate:foreseen",
            makes="generate.log",
            finished="generate:is_answered",
        ),
        Mode(
            "merge",
            "merge what a language model answered into a new store",
            "merge:merge",
            families=(),
            block="merge",
            needs="{log: answers.jsonl, out: data/NEW}",
            keeps_folder=False,
            reads=("data",),
            makes="merge.out",
            finished="merge:is_finished",
        ),
    )
}
