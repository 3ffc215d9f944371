"""Training the upper layers of a language model: killed and resumed (R1), and repeated (R20), bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import worker
from legorec.engine import checkpoint
from tests.faults.test_resume import KILL_AFTER_STEP
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.launching import one_thread
from tests.support.runs import contents, differences, finish, only_run, start

WHOLE = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32}
STEPS = 8  # of an epoch, half of a pass
UPPER = {
    **{"layer": 2, "embed_hidden_size": 32, "lora_dropout": 0.1, "lr": 1e-3, "item_lr": 1e-4},
    **{"batch_size": 4, "acc_batch": 2, "epoch_batch": -2, "exp__policy__save_every": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "killed_after", "options"),
    [("bert-naml", STEPS - 3, {}), ("llama-nrms", STEPS, {"precision": "bf16"})],
)
def test_r1_r20_lora_on_cached_layers(
    tmp_path: Path, model: str, killed_after: int, options: dict[str, Any]
) -> None:
    """With dropout, accumulation and two rates; killed within an epoch and at its end."""
    name = model.partition("-")[0]
    folder = write_language_model(tmp_path / "weights", name).folder
    store = write_language_store(tmp_path / "store", **{name: folder})
    base = (store, folder, tmp_path / "cache")
    split = language_arguments(*base, tmp_path, model, f"{name}-split", exp__cache__layers="[-1]", **WHOLE)

    def argv(place: str) -> list[str]:
        return language_arguments(*base, tmp_path / place, model, "tt-llm", **UPPER, **options)

    with one_thread():
        assert worker.main(split) == 0
        straight, again = finish(argv("straight")), finish(argv("again"))
        assert (
            checkpoint.read_state(straight / "checkpoints" / last(straight))["progress"]["step"] == 2 * STEPS
        )
        assert differences(straight, again) == []
        unequal = {file for file, data in contents(straight).items() if contents(again)[file] != data}
        assert unequal <= {"run.log"}
        process = start(argv("killed"), code=KILL_AFTER_STEP.format(killed_after))
        process.communicate(timeout=110)
        assert process.returncode == -signal.SIGKILL
        assert worker.main([*argv("killed"), "--resume", "true"]) == 0
    assert differences(straight, only_run(tmp_path / "killed")) == []


def last(run: Path) -> str:
    return checkpoint.complete(run / "checkpoints")[-1].name
