"""A trained run as an object that scores and recommends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.recipes.inputs.bundle_files import SavedModel, carried, find_folder
from legorec.recipes.inputs.devices import usable_device
from legorec.recipes.inputs.served import served
from legorec.recipes.outputs.bundle import Origin, Saves, is_bundle
from legorec.recipes.outputs.session import settings_file
from legorec.sequences import texts

if TYPE_CHECKING:
    from legorec.settings import Settings


def load(
    run_folder: str | Path,
    device: str = "auto",
    epoch: int | None = None,
    *,
    store: str | Path | None = None,
    paths: Mapping[str, str | Path] | None = None,
    allow: Sequence[str] = (),
    revision: str | None = None,
) -> Any:
    """The best epoch of a run, on the store that it was trained on, or a model that ``save`` wrote.

    Returns a ``TrainedRecommender``, or, of another family, the object of that family, see ``Family.served``.

    Relative paths of its settings are looked for where the run was made, in the current folder, and above the
    run's folder.

    Args:
        run_folder: of a run, or of a saved model; or the name of a saved model on the hub, ``org/name``.
        epoch: another one, of those that the run keeps.
        store: the folder of the store, in place of the one that the settings name.
        paths: other paths in place of those of the settings, by their dotted place there, such as
            ``{"model.source.checkpoint": "weights/llama"}``.
        allow: packages outside of legorec from which the settings may take bricks. They are imported, so name
            what you trust.
        revision: of a model on the hub: a branch, a tag or a commit.

    Raises:
        ValueError: the folder is no finished run and no saved model, the epoch is not kept, something that
            its settings name is not found, or its store or weights do not belong to its settings.
    """
    folder = find_folder(run_folder, revision)
    saved = SavedModel.open(folder) if is_bundle(folder) else None
    if saved is not None and epoch is not None:
        raise ValueError(f"`epoch` is of a run; {folder} is a saved model, which has one")
    named = {**({"data.store": store} if store is not None else {}), **(paths or {})}
    settings = settings_of(folder, named, texts(allow, "allow", "packages"))
    if saved is not None:
        return carried(saved, settings, device, named)
    try:
        found = served(settings, usable_device(device))
    except ValueError as error:
        if settings.lost:
            raise ValueError(f"{error} ({'; '.join(settings.lost)})") from error
        if not Path(settings.data.store).is_dir():
            raise ValueError(
                f"{error}; if the store was moved, name it with legorec.load(run, store=...)"
            ) from error
        raise
    loaded = found.load(
        Path(settings.exp.load or folder), settings.exp.load_epoch if epoch is None else epoch
    )
    trained = found.trained()
    if isinstance(trained, Saves):
        trained.origin = Origin.of_run(folder, loaded, settings, found.inputs())
    return trained


def settings_of(folder: Path, named: Mapping[str, str | Path], packages: Sequence[str]) -> Settings:
    """The settings of a run or a saved model, its paths in full; arguments as of ``load``."""
    from legorec.settings import read_command_line

    # No impression is read, so what filters name need not be there.
    argv = ["--settings", str(settings_file(folder)), "--data.filters", "[]"]
    for place, path in named.items():
        path = Path(path).absolute() if Path(path).exists() else path  # the current folder may change
        argv += [f"--{place}", json.dumps(str(path))]
    allowed = ["--allow", json.dumps(packages)] if packages else []
    return read_command_line(argv + allowed, whole_paths=True)
