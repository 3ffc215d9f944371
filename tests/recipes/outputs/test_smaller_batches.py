"""A memory error in training changes no batch: it ends the run, naming what takes the same steps (R21)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import worker
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.support.runs import arguments, differences, finish, last_state, only_run, refused
from tests.support.short_memory import ERRORS


def fail_in_step(
    monkeypatch: pytest.MonkeyPatch, where: str, step: int, error: Callable[[], Exception]
) -> None:
    """An error of memory in the forward pass, the backward pass or the optimizer, in some step."""
    owner, name = {
        "forward": (SampledSoftmaxObjective, "__call__"),
        "backward": (torch.Tensor, "backward"),
        "optimizer": (torch.optim.AdamW, "step"),
    }[where]
    plain, calls = getattr(owner, name), []

    def failing(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == step:
            raise error()
        return plain(*given, **named)

    monkeypatch.setattr(owner, name, failing)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, store):
    return finish(arguments(store, tmp_path_factory.mktemp("runs"), save_every=3))


@pytest.mark.slow
@pytest.mark.parametrize("where, error", [("forward", "cuda"), ("backward", "cpu"), ("optimizer", "python")])
def test_r21_training_stops_and_names_what_takes_the_same_steps(
    store, straight, tmp_path, monkeypatch, capsys, where, error
):
    """In the second epoch; the checkpoint before it is whole, and goes on to the same end."""
    argv = arguments(store, tmp_path, save_every=3)
    with monkeypatch.context() as patch:
        fail_in_step(patch, where, 14, ERRORS[error])
        refused(
            argv,
            capsys,
            "error: out of memory in training at batch 13 (",
            "last checkpoint is untouched. --exp.policy.batch_size 8 --exp.policy.acc_batch 2 takes steps",
            "--exp.policy.item_page_size",
        )
    run = only_run(tmp_path)
    assert "stopped: out of memory in training at batch 13 (" in (run / "run.log").read_text()
    assert not (run / "metrics.json").exists() and last_state(run).state["progress"]["step"] == 12
    assert finish([*argv, "--resume", "true"]) == run
    assert differences(straight, run) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"batch_size": 15, "acc_batch": 2}, "--exp.policy.batch_size 5 --exp.policy.acc_batch 6 takes"),
        ({"epoch_batch": 4}, "--exp.policy.acc_batch 2 --exp.policy.epoch_batch 8 takes steps"),
        ({"batch_size": 1}, "is untouched. --exp.policy.item_page_size encodes fewer items at a time"),
    ],
)
def test_r21_what_training_names_takes_steps_over_the_same_examples(
    store, tmp_path, monkeypatch, capsys, flags, said
):
    fail_in_step(monkeypatch, "forward", 1, ERRORS["cuda"])
    refused(arguments(store, tmp_path, **flags), capsys, "in training at batch 0 (CUDA out of memory. ", said)


def test_r21_another_error_in_training_keeps_its_traceback(store, tmp_path, monkeypatch):
    fail_in_step(
        monkeypatch, "backward", 2, lambda: RuntimeError("element 0 of tensors does not require grad")
    )
    with pytest.raises(RuntimeError, match="element 0 of tensors"):
        worker.main(arguments(store, tmp_path))
