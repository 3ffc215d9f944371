"""Write the vectors of a trained run to files, for a vector index or another service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from legorec.engine.progress import bar
from legorec.engine.rank import evaluating
from legorec.engine.stopping import StopRequest
from legorec.files.disk import writing
from legorec.files.whole import all_or_none
from legorec.halving import Halving
from legorec.nn.device import module_device
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.store_data import Data, open_data
from legorec.recipes.inputs.trained_towers import load_trained
from legorec.recipes.outputs.item_table import item_table
from legorec.recipes.outputs.session import Session, open_session
from legorec.recommender import Recommender
from legorec.scorers.paging import BATCH_SIZE, joined

if TYPE_CHECKING:
    from legorec.settings import Settings

KEY = "vectors"  # of the one tensor in each safetensors file
PARTIAL = "export.tmp-"


def export(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Write a vector for every item and every user into the run folder, in float32.

    ``items.safetensors`` (N, D) with the raw ids of its rows in ``item_ids.parquet`` (where some of them are
    ``generated``, a column says which: they belong in histories, and should not be recommended), and
    ``users.safetensors`` (U, D) or (U, M, D) with ``user_ids.parquet``. A user is encoded from one history,
    the latest (``Data.latest_spans``). The files appear when all are written, ``metrics.json`` last.
    Several processes share items and users; the first one writes.

    Raises:
        ValueError: something the user can mend.
        OSError: the disk is full, or may not be written.
        Interrupted: the process was asked to stop; none of the files is there.
    """
    with processes.agreeing():
        device = choose_device(settings.device, processes)
        data = open_data(settings)
        model = build_model(settings, data, device).eval()
        loaded = load_trained(Path(settings.exp.load or ""), model, settings, data)
        spans = data.latest_spans()
    with open_session(settings, processes) as session:
        session.log(f"{session.folder.path}  on {device}, weights of {loaded}")
        items = item_table(model, data.num_items, settings, session, torch.device("cpu"))
        users = user_table(model, data, items, spans, settings, session)
        shapes = processes.from_first({"items": [*items.shape], "users": [*users.shape]})
        metrics = {"export": shapes | {"users_without_history": int((spans < 0).sum())}}
        with processes.agreeing():
            if processes.is_first:
                write(session.folder.path, {"item": items, "user": users}, data, session.stop)
        session.folder.write_metrics(metrics)
        for name in ("items", "users"):
            session.log(
                f"wrote {session.folder.path / name}.safetensors {tuple(shapes[name])}: "
                f'safetensors.torch.load_file(path)["{KEY}"]; row by row as "id" of {name[:-1]}_ids.parquet'
            )
        if model.reads_history:
            session.log(f"the predictor {settings.model.predictor.name} also reads the clicks of a user")
        return metrics


def user_table(
    model: Recommender,
    data: Data,
    items: Tensor,
    spans: np.ndarray,
    settings: Settings,
    session: Session,
) -> Tensor:
    """Vectors of every user on the host, in the order of the users; every process has all of them.

    Args:
        items: (N, D) vectors of every item, on the host.
        spans: (U,) the history of each user; an empty one where it is -1.

    Raises:
        Interrupted: the run was asked to stop meanwhile.
        NoMemoryError: there is not the memory for one user.
    """
    device, rows, processes = module_device(model), np.arange(len(spans)), session.processes
    size, done = settings.exp.evaluation.batch_size, []
    halved = Halving(size, BATCH_SIZE, session.tell)

    def encode(page: np.ndarray) -> Tensor:
        history, mask = _histories(data, spans[page])
        rows_BH, mask_BH = torch.from_numpy(history), torch.from_numpy(mask)
        with evaluating(model, bf16=settings.exp.policy.precision == "bf16"):
            vectors = items[rows_BH].to(device)
            clicks = model.clicks_of(rows_BH, mask_BH, torch.from_numpy(page), vectors)
            return model.encode_users(clicks).float().cpu()

    with bar("users", len(spans), shown=processes.is_first) as show:
        for turn, page in processes.turns(-(-len(spans) // size)):
            if page is not None:
                users = rows[page * size : (page + 1) * size]
                done.append(torch.cat([*halved.pages(users, encode, "row {} of the users".format)]))
            show(min(turn.stop * size, len(spans)), len(spans))
            session.stop.check()
    return joined(done, len(spans), size, torch.device("cpu"), processes) if len(spans) else torch.zeros(0)


def _histories(data: Data, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Item rows (B, H) and their mask."""
    if not len(data.histories):
        return np.zeros((len(spans), 1), dtype=np.int64), np.zeros((len(spans), 1), dtype=bool)
    history, mask = data.histories.padded(np.maximum(spans, 0))
    mask &= (spans >= 0)[:, None]
    return np.where(mask, history, 0).astype(np.int64), mask


def write(folder: Path, vectors: dict[str, Tensor], data: Data, stop: StopRequest) -> None:
    """Put vectors and ids into a folder, all of them or none; those of an earlier export are replaced.

    Raises:
        OSError: the disk is full, or may not be written.
        Interrupted: the process was asked to stop meanwhile; nothing is there.
    """
    with all_or_none(folder, PARTIAL) as partial, stop.anywhere():
        for name, table in (("item", data.store.items), ("user", data.store.users)):
            matrix, ids = vectors[name].float().contiguous(), table.ids.series().to_frame()
            if table.num_real < len(table):
                ids = ids.with_columns(generated=pl.Series(table.generated))
            with writing(file := partial / f"{name}s.safetensors", matrix.nbytes, "about "):
                save_file({KEY: matrix}, file)
            with writing(file := partial / f"{name}_ids.parquet", int(ids.estimated_size()), "about "):
                ids.write_parquet(file)
        for file in partial.iterdir():
            file.chmod(folder.stat().st_mode & 0o666)  # safetensors keeps its files to their owner
