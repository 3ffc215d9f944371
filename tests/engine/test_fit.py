"""The training loop: how it steps, where it hands back control, and what stops it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, Loss, Term
from legorec.engine.fit import FitOptions, NonFiniteError, Progress, fit
from legorec.engine.optim import make_optimizer
from legorec.engine.reduce import average_buffers
from legorec.objectives.pointwise import PointwiseObjective
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from tests.support import small


class Batches:
    """Batches made beforehand, numbered through epochs of equal length."""

    seed = 3

    def __init__(self, batches: Sequence[ClickBatch]) -> None:
        self.batches = batches

    def epoch(self, number: int) -> range:
        return range(number * len(self.batches), (number + 1) * len(self.batches))

    def batch(self, number: int) -> ClickBatch:
        return self.batches[number % len(self.batches)]


class Recorder(torch.optim.SGD):
    """Plain gradient descent that keeps the gradients and the rate of each step."""

    def __init__(self, model: nn.Module, lr: float = 1.0) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.param_groups[0]["base_lr"] = lr
        self.seen: list[list[Tensor]] = []
        self.rates: list[float] = []

    def step(self, closure=None):
        parameters = self.param_groups[0]["params"]
        self.seen.append([part.grad.clone() for part in parameters])
        self.rates.append(self.param_groups[0]["lr"])
        return super().step()


def cut(sizes: Sequence[int]) -> Batches:
    """The same examples in batches of the given sizes."""
    whole = small.stream(batch_size=sum(sizes)).batch(0)
    assert len(whole.labels) == sum(sizes)
    stops = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return Batches([small.examples(whole, stops[n], stops[n + 1], number=n) for n in range(len(sizes))])


def trained(
    stream: Batches,
    epochs: int = 1,
    dtype: torch.dtype = torch.float32,
    name: str = "nrms",
    lr: float = 1.0,
    dropout: float = 0.0,
    **options: int | float | bool,
) -> tuple[nn.Module, Recorder, list[Progress]]:
    model = small.recommender(name, dropout=dropout).to(dtype)
    optimizer = Recorder(model, lr)
    steps = fit(model, stream, SampledSoftmaxObjective(), optimizer, FitOptions(**options), Progress())
    return model, optimizer, [Progress(**asdict(next(steps))) for _ in range(epochs)]


@pytest.mark.parametrize("name", ["nrms", "naml"])
@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("sizes, accumulate", [([4] * 6, 3), ([4] * 6, 6), ([5, 1, 6, 7, 3, 2], 3)])
def test_accumulation_equals_the_larger_batch(name, dtype, close, sizes, accumulate):
    larger = [sum(sizes[n : n + accumulate]) for n in range(0, len(sizes), accumulate)]
    one = trained(cut(sizes), 2, dtype, name, lr=0.1, dropout=0.3, accumulate=accumulate)
    other = trained(cut(larger), 2, dtype, name, lr=0.1, dropout=0.3)
    assert len(one[1].seen) == len(other[1].seen) == 2 * len(larger)
    for left, right in zip(one[1].seen, other[1].seen, strict=True):
        assert all((a - b).abs().max() <= close for a, b in zip(left, right, strict=True))
    for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert a.dtype == dtype and (a - b).abs().max() <= close
    assert one[2][-1].loss == pytest.approx(other[2][-1].loss, abs=close)


def test_the_leftover_of_an_epoch_steps_and_does_not_leak():
    """Five batches by two: the third step is the fifth batch alone, and the next epoch begins anew."""
    frozen = {"lr": 0.0, "dtype": torch.float64}
    _, optimizer, progress = trained(cut([4] * 5), epochs=2, accumulate=2, **frozen)
    assert [each.step for each in progress] == [3, 6] and [each.next_batch for each in progress] == [5, 10]
    _, alone, _ = trained(cut([4] * 5), epochs=1, **frozen)
    for place, batches in enumerate([(0, 1), (2, 3), (4,), (0, 1), (2, 3), (4,)]):
        mean = [torch.stack(parts).mean(0) for parts in zip(*(alone.seen[n] for n in batches), strict=True)]
        for left, right in zip(optimizer.seen[place], mean, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


def norm(gradients: Sequence[Tensor]) -> float:
    return float(torch.stack([part.norm() for part in gradients]).norm())


def test_clip_norm_scales_long_gradients_and_no_others():
    _, plain, _ = trained(cut([4] * 4), lr=0.0)
    norms = [norm(each) for each in plain.seen]
    limit = sorted(norms)[2] * 0.99
    _, clipped, _ = trained(cut([4] * 4), lr=0.0, clip_norm=limit)
    assert [norm(each) for each in clipped.seen] == pytest.approx(
        [min(each, limit) for each in norms], rel=1e-4
    )
    for left, right, length in zip(clipped.seen, plain.seen, norms, strict=True):
        if length <= limit:
            assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_warmup_counts_optimizer_steps():
    _, optimizer, _ = trained(cut([2] * 5), epochs=2, accumulate=2, warmup=4)
    assert optimizer.rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["nrms", "naml"])
def test_bf16_keeps_weights_in_float32(name):
    model, optimizer, progress = trained(cut([8] * 3), 2, name=name, lr=0.1, bf16=True)
    _, full, _ = trained(cut([8] * 3), 2, name=name, lr=0.1)
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in model.parameters())
    assert not torch.equal(optimizer.seen[0][0], full.seen[0][0])
    assert norm(optimizer.seen[0]) == pytest.approx(norm(full.seen[0]), rel=0.1)
    assert progress[1].loss < progress[0].loss


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError, match="`acc_batch` must be at least 1, got 0"):
        FitOptions(accumulate=0)


class Poisoned(SampledSoftmaxObjective):
    """Spoils the loss, or its gradient alone, of one batch."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__()
        self.what, self.number = what, number

    def __call__(self, model: nn.Module, batch: ClickBatch) -> Loss:
        loss = super().__call__(model, batch)
        if batch.number != self.number:
            return loss
        factors = {"nan loss": torch.nan, "infinite loss": torch.inf}
        if self.what in factors:
            return Loss({"all": Term(loss.total * factors[self.what])})
        # The root of zero is zero, its slope is not finite.
        return Loss({"all": Term(loss.total + (0 * next(model.parameters()).sum()).sqrt())})


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("what", ["nan loss", "infinite loss", "gradient"])
def test_r5_what_is_not_finite_stops_before_the_weights_change(what, accumulate, clip_norm):
    stream = small.stream(num_negatives=4)
    model = small.recommender()
    optimizer, progress, kept = make_optimizer(model, lr=1e-3), Progress(), {}

    def keep(done: int, total: int) -> None:
        kept.update({name: value.clone() for name, value in model.state_dict().items()})

    options = FitOptions(accumulate=accumulate, clip_norm=clip_norm)
    steps = fit(model, stream, Poisoned(what, 5), optimizer, options, progress, advanced=keep)
    with pytest.raises(NonFiniteError) as caught:
        next(steps)
    batches = [5] if accumulate == 1 else [4, 5]
    groups = sorted({int(group) for number in batches for group in stream.batch(number).group})
    shown = ", ".join(map(str, groups[:10])) + (f" and {len(groups) - 10} more" if len(groups) > 10 else "")
    message = str(caught.value)
    assert message.startswith(f"the {what.split()[-1]} is not finite (loss ")
    assert f"at batch {', '.join(map(str, batches))}, impressions {shown}; the last checkpoint" in message
    assert progress.step == batches[0] // accumulate and progress.next_batch == batches[0]
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def run(steps: Iterator[Progress], until: Callable[[Progress], bool]) -> list[tuple[int, int, int, bool]]:
    """Where control came back, until a condition holds."""
    seen = []
    for progress in steps:
        seen.append((progress.epoch, progress.next_batch, progress.step, progress.epoch_done))
        if until(progress):
            break
    return seen


def test_control_comes_back_to_save_and_at_the_end_of_epochs():
    stream, model = cut([2] * 6), small.recommender()
    options = FitOptions(accumulate=2, save_every=2)
    steps = fit(model, stream, SampledSoftmaxObjective(), make_optimizer(model, lr=1e-3), options, Progress())
    seen = run(steps, lambda progress: progress.epoch == 2 and progress.epoch_done)
    assert seen == [
        (0, 4, 2, False),
        (0, 6, 3, True),
        (1, 8, 4, False),
        (1, 12, 6, True),
        (2, 16, 8, False),
        (2, 18, 9, True),
    ]


def test_control_comes_back_when_asked_to_stop():
    stream, model, asked = cut([2] * 6), small.recommender(), []
    steps = fit(
        model,
        stream,
        SampledSoftmaxObjective(),
        make_optimizer(model, lr=1e-3),
        FitOptions(),
        Progress(),
        stop=lambda: len(asked) in (3, 4, 6),
        advanced=lambda done, total: asked.append((done, total)),
    )
    seen = run(steps, lambda progress: progress.epoch_done)
    assert seen == [(0, 3, 3, False), (0, 4, 4, False), (0, 6, 6, True)]
    assert asked == [(done, 6) for done in range(1, 7)]


def test_training_mode_comes_back_after_a_hand_back():
    stream, model, modes = cut([2] * 4), small.recommender(), []
    model.register_forward_hook(lambda *call: modes.append(model.training))
    options = FitOptions(save_every=1)
    for progress in fit(
        model, stream, SampledSoftmaxObjective(), make_optimizer(model, lr=1e-3), options, Progress()
    ):
        model.eval()
        if progress.epoch == 1 and progress.epoch_done:
            break
    assert modes == [True] * 8


@pytest.mark.parametrize("save_every", [0, 1, 2])
def test_the_loss_is_the_mean_over_the_epochs_examples(save_every):
    objective, stream, hand_backs = SampledSoftmaxObjective(), cut([5, 4, 3]), {0: 1, 1: 3, 2: 2}[save_every]
    model, _, progress = trained(stream, epochs=hand_backs, lr=0.0, save_every=save_every)
    with torch.no_grad():
        total = sum(objective(model, batch).total.item() for batch in stream.batches)
    assert progress[-1].epoch_done and progress[-1].counts == {"examples": 12}
    assert progress[-1].loss == pytest.approx(total / 12, rel=1e-6)


RESUMED = [
    FitOptions(),
    FitOptions(accumulate=3, warmup=9, clip_norm=0.5),
    FitOptions(bf16=True, accumulate=2),
]
QUICK_RESUMED = [
    (True, 0, 0),
    (False, 1, 0),
    (True, 2, 1),
]  # each option, objective and way to stop is in one


@pytest.mark.parametrize(
    "positives_only, options, stops",
    [
        pytest.param(positives_only, options, stops, marks=[] if where in QUICK_RESUMED else pytest.mark.slow)
        for positives_only in (True, False)
        for option, options in enumerate(RESUMED)
        for stop, stops in enumerate(([1, 2, 9, 17], [4]))
        for where in [(positives_only, option, stop)]
    ],
)
def test_r1_resumed_training_equals_the_straight_one_bit_by_bit(positives_only, options, stops):
    """Dropout, negatives and loss sums included; every part is made anew at each stop."""
    objective = SampledSoftmaxObjective() if positives_only else PointwiseObjective(2)
    arguments = {"batch_size": 6, "num_negatives": 2, "positives_only": positives_only, "epoch_batch": 10}

    def made(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = small.recommender(seed=seed, dropout=0.3)
        return model, make_optimizer(model, lr=3e-3)

    straight, optimizer = made(0)
    epochs = fit(straight, small.stream(**arguments), objective, optimizer, options, Progress())
    wanted = [(dict(each.sums), dict(each.counts)) for _, each in zip(range(3), epochs, strict=False)]

    model, again = made(0)
    progress, found, stops = Progress(), [], list(stops)
    while len(found) < 3:
        steps = fit(
            model,
            small.stream(**arguments),
            objective,
            again,
            options,
            progress,
            stop=lambda progress=progress: bool(stops) and progress.step >= stops[0],
        )
        progress = Progress(**asdict(next(steps)))
        if progress.epoch_done:
            found.append((dict(progress.sums), dict(progress.counts)))
        while stops and progress.step >= stops[0]:
            stops.pop(0)
        saved = (model.state_dict(), again.state_dict())
        torch.manual_seed(99)
        model, again = made(1)
        model.load_state_dict(saved[0])
        again.load_state_dict(saved[1])
    assert found == wanted
    for name, value in straight.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


class Two:
    """Two processes that have measured alike but for a factor of three."""

    world = 2

    def add(self, values: torch.Tensor) -> None:
        values.mul_(4.0)  # its own, and three times its own


def test_what_processes_measure_apart_is_averaged():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    model[0].running_mean[:] = torch.tensor([1.0, 2.0])
    count, weight = model[0].num_batches_tracked.clone(), model[1].weight.clone()
    average_buffers(model, Two())
    assert model[0].running_mean.tolist() == [2.0, 4.0] and model[0].running_var.tolist() == [2.0, 2.0]
    assert torch.equal(model[0].num_batches_tracked, count) and torch.equal(model[1].weight, weight)
