import os

import pytest
import torch

from legorec.engine.kernels import kernels
from legorec.recipes import run as run_module
from legorec.recipes.run import run
from legorec.settings import read_command_line
from tests.support.runs import arguments, write_store


def state():
    return (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_block_has_these_kernels_and_leaves_those_of_before(tf32, deterministic):
    before = state()
    with pytest.raises(KeyError), kernels(tf32, deterministic):
        assert state() == (tf32, tf32, deterministic, ":4096:8" if deterministic else before[3])
        raise KeyError
    assert state() == before


def test_a_workspace_that_is_given_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with kernels(deterministic=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("allowed", [False, True])
def test_every_recipe_runs_within_it(tmp_path, monkeypatch, allowed):
    write_store(tmp_path / "store")
    settings = read_command_line(arguments(tmp_path / "store", tmp_path, tf32=allowed, deterministic=allowed))
    seen = []
    monkeypatch.setattr(run_module, "function_at", lambda path: lambda *given: seen.append(state()))
    run(settings)
    assert seen[0][:3] == (allowed,) * 3
