"""The composition of four bricks: a table of items, padding and company change nothing."""

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import ClickBatch, TokenStates
from legorec.nn.device import module_device
from legorec.recommender import Recommender, extras_of
from legorec.registry import EXTRAS
from tests.support import small

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
    """A brick that asks for all that is offered to its kind, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Tensor | TokenStates] = {}


class UserReading(Reading):
    def forward(
        self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor, click_items: Tensor, states: TokenStates
    ) -> Tensor:
        self.given = {"user": user, "click_items": click_items, "states": states}
        return clicks_BHD.sum(1) + user.unsqueeze(1)

    def click_weights(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        return mask_BH.unsqueeze(2).float()


class PluginReading(Reading):
    def forward(self, user_BD: Tensor, user: Tensor) -> Tensor:
        self.given = {"user": user}
        return user_BD * 2


class HistoryReading(Reading):
    def forward(
        self,
        user: Tensor,
        candidates_BKD: Tensor,
        mask: Tensor,
        clicks: Tensor,
        click_items: Tensor,
        click_weights: Tensor,
        candidate_items: Tensor,
        candidate_mask: Tensor,
    ) -> Tensor:
        self.given = {
            "clicks": clicks,
            "mask": mask,
            "click_items": click_items,
            "click_weights": click_weights,
            "candidate_items": candidate_items,
            "candidate_mask": candidate_mask,
        }
        return (candidates_BKD @ user.unsqueeze(2)).squeeze(2)


class WithDefault(nn.Module):
    def forward(self, user: Tensor, candidates_BKD: Tensor, temperature: float = 2.0) -> Tensor:
        return (candidates_BKD @ user.unsqueeze(2)).squeeze(2) / temperature


class Greedy(nn.Module):
    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor, weather: Tensor) -> Tensor:
        return clicks_BHD.sum(1)


READING = {"user_encoder": UserReading, "user_plugin": PluginReading, "predictor": HistoryReading}


def reading() -> Recommender:
    plain = small.recommender()
    return Recommender(
        plain.source, plain.item_encoder, UserReading(), HistoryReading(), PluginReading()
    ).eval()


@pytest.mark.parametrize("with_table", [False, True])
def test_extras_are_offered_by_name(with_table):
    model, batch = reading(), batches()[1]
    assert model.reads_history and model.reads_rows and model.reads_states
    plain = small.recommender()
    assert not (plain.reads_history or plain.reads_rows or plain.reads_states)
    table = model.encode_items(torch.arange(small.NUM_ITEMS))
    scores = model(batch, table if with_table else None)
    user, mask = model.user_encoder.given, batch.history_mask
    clicked, shown = batch.items[batch.history], batch.items[batch.candidates]
    assert torch.equal(user["user"], batch.user) and torch.equal(user["click_items"][mask], clicked[mask])
    expected = model.source(clicked[mask])
    assert torch.equal(user["states"].values, expected.values)
    assert torch.equal(user["states"].lengths[mask.flatten()], expected.lengths)
    assert not user["states"].lengths[~mask.flatten()].any()
    assert torch.equal(model.user_plugin.given["user"], batch.user)
    given = model.predictor.given
    assert torch.equal(given["mask"], mask) and torch.equal(given["click_weights"][..., 0], mask.float())
    torch.testing.assert_close(given["clicks"][mask], table[clicked[mask]], **CLOSE)
    assert torch.equal(given["click_items"][mask], clicked[mask])
    there = batch.candidate_mask
    assert torch.equal(given["candidate_mask"], there)
    assert torch.equal(given["candidate_items"][there], shown[there])
    users = given["clicks"].masked_fill(~mask.unsqueeze(2), 0).sum(1) + batch.user.unsqueeze(1)
    assert scores.shape == there.shape and users.shape[0] == len(there)


def test_the_plugin_stands_between_user_encoder_and_predictor():
    model, batch = reading(), batches()[0]
    encoded = model.encode(batch)
    plain = model.user_encoder(
        encoded.clicks.vectors, encoded.clicks.mask, batch.user, encoded.clicks.items, encoded.clicks.states
    )
    assert torch.equal(encoded.user, plain * 2)


@pytest.mark.parametrize("kind", READING)
def test_every_offer_can_be_asked_for(kind):
    assert set(extras_of(READING[kind](), kind)) == set(EXTRAS[kind])


def test_what_has_a_default_is_not_asked_for():
    assert extras_of(WithDefault(), "predictor") == ()


def test_an_unknown_extra_is_refused():
    plain = small.recommender()
    with pytest.raises(
        ValueError, match="Greedy.forward asks for weather, which is not there; offered are user"
    ):
        Recommender(plain.source, plain.item_encoder, Greedy(), plain.predictor)


def test_token_states_are_not_read_in_pages():
    plain = small.recommender()
    with pytest.raises(ValueError, match="`item_page_size` must be 0 with UserReading, .* got 4"):
        Recommender(plain.source, plain.item_encoder, UserReading(), HistoryReading(), item_page_size=4)


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
