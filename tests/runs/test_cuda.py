"""A device beside the CPU: `pytest -m cuda` where there is one, on the stand-in in `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.nn.drawing import drawing
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.contracts.test_device import named_task, recomputes, small_task
from tests.support import small
from tests.support.named_runs import NamedModels
from tests.support.on_devices import CPU, STEPS, outcome
from tests.support.ranking import rank
from tests.support.stand_in import StandIn, available

CUDA = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"),
]
STANDIN = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="this torch has no backends in Python"),
]


@pytest.fixture(params=[pytest.param("cuda", marks=CUDA), pytest.param("standin", marks=STANDIN)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    if request.param == "cuda":
        yield torch.device("cuda", torch.cuda.current_device())
    else:
        with StandIn() as stand_in:
            yield stand_in.device


@contextmanager
def waiting_is_an_error(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        from tests.support.stand_in_module import ENTERED

        before = dict(ENTERED[-1].waits)
        yield
        assert dict(ENTERED[-1].waits) == before


def there(name: str, device: torch.device) -> torch.nn.Module:
    model = small.recommender(name, dropout=0.0)
    model.source.catalog.to(device)
    return model.to(device)


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_scores_are_those_of_the_cpu(name: str, device: torch.device) -> None:
    data = small.impressions()
    np.testing.assert_allclose(
        rank(there(name, device), data).score,
        rank(small.recommender(name, dropout=0.0), data).score,
        atol=1e-4,
    )


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_a_training_pass_never_waits_for_the_device(name: str, device: torch.device) -> None:
    model, objective = there(name, device).train(), SampledSoftmaxObjective(4)
    batch = small.stream().batch(0)
    objective(model, batch.to(device)).total.backward()  # what is set up once may wait
    with waiting_is_an_error(device):
        objective(model, batch.to(device)).total.backward()


@pytest.mark.parametrize("bf16", [False, True])
def test_training_learns(bf16: bool, device: torch.device) -> None:
    model = there("nrms", device)
    steps = fit(
        model,
        small.stream(),
        SampledSoftmaxObjective(4),
        make_optimizer(model, lr=1e-2),
        FitOptions(bf16=bf16),
        Progress(),
    )
    losses = [progress.loss for progress, _ in zip(steps, range(5), strict=False)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("page", [0, 5])
@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_dropout_is_that_of_the_cpu_in_pages_too(name: str, page: int, device: torch.device) -> None:
    """A page is computed again in the backward pass, by another thread."""
    found = []
    for place, its_page in ((CPU, 0), (device, page)):
        model = small.recommender(name, dropout=0.3).train()
        model.source.catalog.to(place)
        model.to(place).item_page_size = its_page
        with drawing(1, 2):
            scores = model(small.stream().batch(0).to(place))
        scores.square().sum().backward()
        found.append([scores.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("page", ["small"])
def test_pages_are_computed_again_with_the_same_dropout(page: str, device: torch.device) -> None:
    recomputes(small_task(), device, rounding=1e-5)


@pytest.mark.parametrize("name", ["lego_naml", "lego_lstur", "lego_din_id", "bert-naml", "llama-iisan-naml"])
def test_named_models_have_the_numbers_of_the_cpu(name: str, device: torch.device, tmp_path: Path) -> None:
    make = named_task(NamedModels(tmp_path / "named").settings(name, epoch_batch=STEPS))
    here, elsewhere = outcome(make, CPU, tmp_path / "cpu"), outcome(make, device, tmp_path / "device")
    assert abs(here.loss - elsewhere.loss) <= 1e-3 * abs(here.loss)
    for key, values in here.results.items():
        np.testing.assert_allclose(elsewhere.results[key], values, rtol=1e-2, atol=1e-3, err_msg=key)
    recomputes(make, device, rounding=1e-4)
