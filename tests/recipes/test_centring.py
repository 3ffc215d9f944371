"""Item encoders centre what language models give of the items."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.item_encoders.iisan import IISANItemEncoder
from legorec.item_encoders.single import SingleItemEncoder
from legorec.nn.centred import Centred
from legorec.nn.scales import LENGTH, from_normed
from legorec.predictors.dot import DotPredictor
from legorec.recipes.centring import centre, read_ahead
from legorec.recommender import Recommender
from legorec.sources.ids import IdsSource
from legorec.user_encoders.naml import NAMLUserEncoder

NUM_ITEMS, WIDTH, DIM = 700, 40, 32


class States(nn.Module):
    """One to four vectors an item, of which nearly all is common, and a few coordinates are long; item 0 has
    none."""

    gives = "states"
    dim = WIDTH

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.lengths = torch.randint(1, 5, (NUM_ITEMS,), generator=draw)
        self.lengths[0] = 0
        sizes = torch.ones(WIDTH)
        sizes[:3] = 90.0
        own = torch.randn(NUM_ITEMS, 4, WIDTH, generator=draw) * spread
        self.values = (own + 20.0 * torch.randn(WIDTH, generator=draw)) * sizes

    def forward(self, items: Tensor) -> TokenStates:
        values = [self.values[item, : self.lengths[item]] for item in items.tolist()]
        return TokenStates(torch.cat([*values, self.values[0, :0]]), self.lengths[items].unsqueeze(1))


class Encoder(nn.Module):
    """The mean of the values, centred, behind a dense layer."""

    reads = ("states",)
    output_dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.centring = Centred(WIDTH)
        self.dense = from_normed(WIDTH, DIM)

    def read(self, states: TokenStates) -> Tensor:
        return states.values

    def forward(self, states: TokenStates) -> Tensor:
        return states.by_item.mean(self.dense(self.centring(self.read(states))))


def model(source: nn.Module | None = None, encoder: nn.Module | None = None) -> Recommender:
    torch.manual_seed(0)
    return Recommender(source or States(), encoder or Encoder(), NAMLUserEncoder(DIM), DotPredictor())


def common(vectors: Tensor) -> float:
    """The share of the square of the length that vectors have in common."""
    return (vectors.mean(0).square().sum() / vectors.square().sum(1).mean()).item()


def test_what_all_items_share_and_long_coordinates_do_not_count() -> None:
    made = model()
    items = torch.arange(1, NUM_ITEMS)
    assert common(made.encode_items(items)) > 0.95
    centre(made, NUM_ITEMS, page_size=0)
    vectors = made.encode_items(items)
    assert common(vectors) < 0.05
    tokens = made.item_encoder.centring(States()(items).values)
    assert tokens.std(0).max() < 1.2 * tokens.std(0).min()  # no coordinate outweighs the others
    tokens = made.item_encoder.dense(tokens)
    assert tokens.square().sum(1).mean().sqrt().item() == pytest.approx(LENGTH, rel=0.15)


@pytest.mark.parametrize("page_size", [3, 64, 5000])
def test_pages_change_nothing(page_size: int) -> None:
    whole, paged = model(), model()
    centre(whole, NUM_ITEMS, page_size=0)
    centre(paged, NUM_ITEMS, page_size=page_size)
    for one, other in zip(whole.buffers(), paged.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_coordinate_that_never_varies_stays_small() -> None:
    source = States()
    source.values[:, :, 5] = 7.0
    made = model(source)
    centre(made, NUM_ITEMS, page_size=0)
    assert made.item_encoder.centring.deviation.min() > 0
    assert common(made.encode_items(torch.arange(1, NUM_ITEMS))) < 0.05
    constant = model(States(spread=0.0))
    centre(constant, NUM_ITEMS, page_size=0)
    assert constant.encode_items(torch.arange(NUM_ITEMS)).isfinite().all()


def test_other_models_and_the_mode_stay_as_they_are() -> None:
    ids = model(IdsSource(NUM_ITEMS, DIM), SingleItemEncoder(DIM, DIM))
    nothing = model()
    nothing.item_encoder.train()
    for made, num_items in ((ids, NUM_ITEMS), (nothing, 1), (nothing, 0)):  # item 0 has no token
        before, drawn = copy.deepcopy(made.state_dict()), torch.get_rng_state()
        centre(made, num_items, page_size=0)
        assert made.training and torch.equal(torch.get_rng_state(), drawn)
        for name, value in made.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_a_side_network_starts_centred_too() -> None:
    source = States()
    source.lengths[:] = 4
    source.lengths[0] = 0
    encoder = IISANItemEncoder(WIDTH, depth=4, hidden_dim=DIM)
    made = model(source, encoder)
    items = torch.arange(1, NUM_ITEMS)
    before = common(made.encode_items(items))
    centre(made, NUM_ITEMS, page_size=0)
    assert before > 0.5 > 10 * common(made.encode_items(items))


@pytest.mark.parametrize("num_pages", [0, 1, 2, 5])
def test_every_page_is_asked_for_once_before_it_is_read(num_pages: int) -> None:
    pages = list(torch.arange(num_pages * 3).split(3)) if num_pages else []
    source, asked = States(), []
    source.prefetch = lambda items: asked.append(items)
    for number, page in enumerate(read_ahead(source, pages), 1):
        assert page is pages[number - 1] and len(asked) == min(number + 1, num_pages)
    assert all(one is other for one, other in zip(asked, pages, strict=True))
