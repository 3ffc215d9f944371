"""The training loop lets the source fetch what the next batch needs."""

import pytest

from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.support import small


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_next_batch_is_fetched_before_a_batch_is_run(accumulate, monkeypatch):
    """Over the bounds of steps, not over those of epochs."""
    stream, model, calls = small.stream(epoch_batch=5), small.recommender(), []
    monkeypatch.setattr(model, "prefetch", lambda items: calls.append(("fetch", items.tolist())))
    model.source.register_forward_pre_hook(lambda source, given: calls.append(("run", given[0].tolist())))
    options = FitOptions(accumulate=accumulate)
    steps = fit(
        model,
        stream,
        SampledSoftmaxObjective(),
        make_optimizer(model, lr=1e-3),
        options,
        Progress(),
        ahead=lambda batch: model.prefetch(batch.items),
    )
    next(steps), next(steps)
    items = [stream.batch(number).items.tolist() for number in range(11)]
    wanted = []
    for number in range(10):
        wanted += [("fetch", items[number + 1])] * (number not in (4, 9)) + [("run", items[number])]
    assert calls == wanted
