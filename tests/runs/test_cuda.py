"""What only a CUDA device can show; left out of `make test`, run with `pytest -m cuda` where there is one."""

import numpy as np
import pytest
import torch

from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.nn.drawing import drawing
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.support import small
from tests.support.ranking import rank

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_cuda(name: str) -> torch.nn.Module:
    model = small.recommender(name, dropout=0.0)
    model.source.catalog.to("cuda")
    return model.to("cuda")


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_scores_are_those_of_the_cpu(name):
    data = small.impressions()
    here = rank(small.recommender(name, dropout=0.0), data)
    there = rank(on_cuda(name), data)
    np.testing.assert_allclose(there.score, here.score, atol=1e-4)


@pytest.mark.parametrize("name", ["naml", "nrms"])
def test_a_training_pass_never_waits_for_the_device(name):
    model, objective = on_cuda(name).train(), SampledSoftmaxObjective(4)
    batch = small.stream().batch(0).to("cuda")
    objective(model, batch).total.backward()  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        objective(model, batch).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("bf16", [False, True])
def test_training_learns(bf16):
    model = on_cuda("nrms")
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
def test_dropout_is_that_of_the_cpu_in_pages_too(name, page):
    """A page is computed again in the backward pass, by another thread."""
    found = []
    for device, its_page in (("cpu", 0), ("cuda", page)):
        model = small.recommender(name, dropout=0.3).train()
        model.source.catalog.to(device)
        model.to(device).item_page_size = its_page
        with drawing(1, 2):
            scores = model(small.stream().batch(0).to(device))
        scores.square().sum().backward()
        found.append([scores.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
