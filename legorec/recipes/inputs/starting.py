"""Begin a training with the weights of a finished run, on the store of that run or another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from legorec import registry
from legorec.abilities import HasRows, RowsOf
from legorec.compose.saved import read_saved
from legorec.engine import checkpoint
from legorec.engine.run_folder import best_checkpoint
from legorec.engine.task import Start
from legorec.engine.weights import STARTED, load_weights
from legorec.recipes.inputs.digests import ITEM_IDS, USER_IDS, input_digests
from legorec.recipes.inputs.row_ids import RowIds
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.inputs.trained_towers import brick_differences, check_fields, saved_tree
from legorec.recipes.outputs.session import settings_file

if TYPE_CHECKING:
    from legorec.engine.training import Training
    from legorec.settings import Settings

BY_ROW = {"num_items": ITEM_IDS, "num_users": USER_IDS}  # what a brick is told that may have a row for each


def begin_with_weights(training: Training, settings: Settings, run_folder: Path) -> None:
    """Put the weights into the model that ``exp.init_from`` names, if it names some.

    A run that is resumed has weights of its own: there the others are only held against their digest, and
    may be gone.

    Raises:
        ValueError: there are none, or they do not fit.
    """
    run = starting_run(settings)
    if run is None:
        return
    goes_on = settings.resume and checkpoint.newest(run_folder / "checkpoints") is not None
    if not goes_on or run.is_dir():
        training.begin(training.task.start(run))


def starting_run(settings: Settings) -> Path | None:
    """The run whose weights training begins with; CALRec's second stage names it in its model layer.

    Raises:
        ValueError: both layers name one.
    """
    named, own = settings.exp.init_from, getattr(settings.model, "start", None)
    if named is not None and own is not None:
        raise ValueError(
            f"`exp.init_from` ({named}) and `model.start` ({own}) both name weights to start from; take one "
            "out"
        )
    run = named or own
    return None if run is None else Path(run)


def noted_start(training: Training | None, settings: Settings) -> dict[str, Any]:
    """What ``metrics.json`` says of the weights that a training began with, if they were a run's."""
    digest = None if training is None else training.state.inputs.get(STARTED)
    return {"init_from": {"run": str(starting_run(settings)), "weights": digest}} if digest else {}


def start_of(path: Path, said: Sequence[str] = ()) -> Start:
    """What a training notes of weights that are in its model."""
    return Start(path, checkpoint.weights_digest(path), said)


def start_tower(run: Path, model: nn.Module, settings: Settings, data: Data) -> Start:
    """Load the weights of a run's best epoch; rows of items, users, words and categories by their ids.

    Raises:
        ValueError: the folder is no trained run, bricks or fields are others, a weight does not fit, or the
            run's store is needed for its ids and is gone.
    """
    tree = saved_tree(run)
    said = []
    for place, trained, asked in brick_differences(tree, settings):
        if place.endswith(".name") or place.count(".") == 0:
            raise ValueError(
                f"{run} was trained with model.{place} {trained!r}, asked for is {asked!r}; what starts from "
                "its weights has the same bricks"
            )
        said.append(f"model.{place}: {trained!r} there, {asked!r} here")
    check_fields(run, tree, settings)
    path = best_checkpoint(run)
    saved = checkpoint.load(path)
    now = input_digests(settings, data)
    ids = RowIds(data.store, now, saved.state["inputs"], lambda: store_of(run, tree))
    _check_rows_are_said(settings, model, now, saved.state["inputs"])
    owned = dict(owned_weights(model))
    matches = {name: ids.match(rows) for name, rows in owned.items() if name in saved.tensors["weights"]}
    load_weights(model, saved, path, matches=matches)
    return start_of(path, [*said, *ids.said()])


def owned_weights(model: nn.Module) -> Iterator[tuple[str, list[RowsOf]]]:
    """The weights whose rows belong to items, users, words or categories, by name."""
    for name, module in model.named_modules():
        if isinstance(module, HasRows):
            for weight, rows in module.row_owners().items():
                yield f"{name}.{weight}" if name else weight, list(rows)


def store_of(run: Path, tree: Mapping[str, Any]) -> Path:
    """The folder of the store that a run was trained on.

    Raises:
        ValueError: it is not there.
    """
    written = str(tree["data"]["store"])
    problems: list[Any] = []
    saved = read_saved(str(settings_file(run)), dict(tree), problems)
    found = Path(written) if Path(written).is_absolute() else saved.find(written)
    if found is None or not found.is_dir():
        raise ValueError(
            f"{run} was trained on {written}, which is gone: its items or words are other ones than those "
            "here, and their rows are matched by the ids in it; bring it back, or train anew"
        )
    return found


def _check_rows_are_said(
    settings: Settings, model: nn.Module, now: Mapping[str, str], then: Mapping[str, str]
) -> None:
    """Refuse a brick that may have a row for each item or user and does not say in which weight.

    Raises:
        ValueError: naming the brick, where the items or users differ.
    """
    known = {type(module) for module in model.modules() if isinstance(module, HasRows)}
    for place, (kind, brick) in settings.model.bricks().items():
        found = registry.find(kind, brick.name)
        for told, file in BY_ROW.items():
            if told in found.offered and now.get(file) != then.get(file):
                if registry.load(found) not in known:
                    raise ValueError(
                        f"model.{place} '{brick.name}' is told `{told}`, and does not say which of its "
                        "weights have a row for each (`row_owners`, see docs/add-a-brick.md): with other "
                        "items or users than in the run to start from they cannot be matched"
                    )
