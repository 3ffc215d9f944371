"""The composition of four bricks: a table of items, padding and company change nothing."""

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch
from legorec.recommender import PREDICTOR_EXTRAS, USER_EXTRAS, Recommender, extras_of, module_device
from tests import small

NAMES = ["nrms", "naml"]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def batches() -> list[ClickBatch]:
    """Training examples, and whole impressions of different lengths with empty histories among them."""
    found = small.impressions()
    rows = torch.arange(len(found)).numpy()
    whole = found.batch(rows)[0]
    assert not whole.history_mask.any(1).all() and not whole.candidate_mask.all()
    return [small.stream().batch(0), whole]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", [0, 1])
def test_item_table_gives_the_direct_scores(name, which):
    model, batch = small.recommender(name).eval(), batches()[which]
    table = model.encode_items(torch.arange(small.NUM_ITEMS))
    direct = model(batch)
    assert direct.shape == batch.labels.shape and direct.dtype == torch.float32
    torch.testing.assert_close(model(batch, table), direct, **CLOSE)


def widened(batch: ClickBatch) -> ClickBatch:
    """More padding on both sides, holding positions of real items."""

    def wider(values: Tensor, fill: int) -> Tensor:
        return torch.cat([values, torch.full((len(values), 4), fill, dtype=values.dtype)], 1)

    history = wider(batch.history, 2).masked_fill(~wider(batch.history_mask, 0), 2)
    candidates = wider(batch.candidates, 3).masked_fill(~wider(batch.candidate_mask, 0), 3)
    return ClickBatch(
        items=batch.items,
        history=history,
        history_mask=wider(batch.history_mask, False),
        candidates=candidates,
        candidate_mask=wider(batch.candidate_mask, False),
        labels=wider(batch.labels, 0),
        user=batch.user,
        group=batch.group,
        span=batch.span,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", [0, 1])
def test_padding_changes_nothing(name, which):
    model, batch = small.recommender(name).eval(), batches()[which]
    more = widened(batch)
    torch.testing.assert_close(model(more)[more.candidate_mask], model(batch)[batch.candidate_mask], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_not_depend_on_its_company(name):
    model, batch = small.recommender(name).eval(), batches()[1]
    alone = torch.cat([model(small.examples(batch, row, row + 1)) for row in range(len(batch.labels))])
    torch.testing.assert_close(alone, model(batch), **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_r19_cold_rows_are_finite(name):
    """Empty histories, empty titles and items without any token, in training mode with gradients."""
    model = small.recommender(name)
    batch = batches()[1]
    assert (model.source.catalog.lengths[batch.items, 0] == 0).any()
    scores = model(batch)
    assert scores.isfinite().all()
    scores.square().sum().backward()
    assert all(part.grad.isfinite().all() for part in model.parameters() if part.grad is not None)


class Reading(nn.Module):
    """A brick that asks for more than its two tensors, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Tensor] = {}


class UserReading(Reading):
    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor) -> Tensor:
        self.given = {"user": user}
        return clicks_BHD.sum(1) + user.unsqueeze(1)


class HistoryReading(Reading):
    def forward(self, user: Tensor, candidates_BKD: Tensor, mask: Tensor, clicks: Tensor) -> Tensor:
        self.given = {"clicks": clicks, "mask": mask}
        return (candidates_BKD @ user.unsqueeze(2)).squeeze(2)


class WithDefault(nn.Module):
    def forward(self, user: Tensor, candidates_BKD: Tensor, temperature: float = 2.0) -> Tensor:
        return (candidates_BKD @ user.unsqueeze(2)).squeeze(2) / temperature


class Greedy(nn.Module):
    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor, weather: Tensor) -> Tensor:
        return clicks_BHD.sum(1)


def test_extras_are_offered_by_name():
    plain, batch = small.recommender().eval(), batches()[0]
    model = Recommender(plain.source, plain.item_encoder, UserReading(), HistoryReading()).eval()
    assert model.reads_history and not plain.reads_history
    table = model.encode_items(batch.items)
    model(batch)
    assert torch.equal(model.user_encoder.given["user"], batch.user)
    assert torch.equal(model.predictor.given["mask"], batch.history_mask)
    assert torch.equal(model.predictor.given["clicks"], table[batch.history])


def test_every_offer_can_be_asked_for():
    assert extras_of(UserReading(), 2, USER_EXTRAS) == tuple(USER_EXTRAS)
    assert set(extras_of(HistoryReading(), 2, PREDICTOR_EXTRAS)) == set(PREDICTOR_EXTRAS)
    assert extras_of(WithDefault(), 2, PREDICTOR_EXTRAS) == ()


def test_an_unknown_extra_is_refused():
    plain = small.recommender()
    with pytest.raises(
        ValueError, match="Greedy.forward asks for weather, which is not there; offered are user"
    ):
        Recommender(plain.source, plain.item_encoder, Greedy(), plain.predictor)
    with pytest.raises(ValueError, match="asks for mask_BH, user, weather.*offered are clicks, mask"):
        extras_of(Greedy(), 1, PREDICTOR_EXTRAS)


def test_scores_are_float32_at_least():
    model, batch = small.recommender().eval(), batches()[0]
    full = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(batch).dtype == torch.float32
    double = model.double()(batch)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), full, **CLOSE)


def test_module_device():
    assert module_device(nn.Linear(1, 1, device="meta")).type == "meta"
    assert module_device(nn.Identity()).type == "cpu"
