"""MINER's scores, with and without categories, against the formulas of the paper, pair by pair."""

import math

import numpy as np
import pytest
import torch

from legorec.data.catalog import Catalog, CatalogField
from legorec.data.ragged import Ragged
from legorec.predictors.category_miner import CategoryMINERPredictor
from legorec.predictors.miner import MINERPredictor
from legorec.user_encoders.miner import MINERUserEncoder

D, M, K, H = 6, 3, 4, 5
LENGTHS = [3, 5, 0, 1]
MASK = torch.arange(H) < torch.tensor(LENGTHS).unsqueeze(1)
CATEGORIES = [[0], [2], [1], [], [2], [0]]
TAGS = [[1, 3], [0], [], [2, 1, 0], [3], []]
AGGREGATIONS = ["weighted", "max", "mean"]


def ragged(rows: list[list[int]]) -> Ragged:
    return Ragged.from_lengths(
        np.array([value for row in rows for value in row], dtype=np.int32), [len(row) for row in rows]
    )


def catalog(*names: str) -> Catalog:
    """Six items: words, tags and a category, each with its own vocabulary, in the order of the names."""
    words = [[item] * (item % 3) for item in range(6)]
    known = {
        "title": ("text", 6, words),
        "tags": ("categories", 4, TAGS),
        "category": ("category", 3, CATEGORIES),
    }
    fields = [CatalogField(name, known[name][0], f"v-{name}", known[name][1], 3) for name in names]
    return Catalog(fields, [ragged(known[name][2]) for name in names])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gelu(values: np.ndarray) -> np.ndarray:
    return np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values])


def joined(predictor, matches: np.ndarray, candidate: np.ndarray, interests: np.ndarray) -> float:
    """The interests' scores as one: the largest, the mean, or weighted by softmax_m(v . gelu(W u_m))."""
    if predictor.aggregation == "max":
        return matches.max()
    if predictor.aggregation == "mean":
        return matches.mean()
    weight = predictor.gate.weight.detach().numpy()
    raised = np.exp([candidate @ gelu(weight @ interest) for interest in interests])
    return float((raised / raised.sum() * matches).sum())


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_miner(aggregation):
    torch.manual_seed(0)
    predictor = MINERPredictor(D, aggregation).double()
    user, candidates = drawn(4, M, D), drawn(4, K, D, seed=1)
    scores = predictor(user, candidates).detach().numpy()
    for b in range(4):
        interests = user[b].numpy()
        for k, candidate in enumerate(candidates[b].numpy()):
            matches = np.array([interest @ candidate for interest in interests])
            np.testing.assert_allclose(scores[b, k], joined(predictor, matches, candidate, interests))
    assert not predictor(torch.zeros(2, M, D).double(), candidates[:2]).any()


def test_one_interest_is_the_inner_product():
    user, candidates = drawn(4, 1, D), drawn(4, K, D, seed=1)
    for aggregation in AGGREGATIONS:
        scores = MINERPredictor(D, aggregation).double()(user, candidates)
        torch.testing.assert_close(scores, torch.einsum("bmd,bkd->bk", user, candidates))


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    """What the predictor is given, from MINER's user encoder; garbage at masked places."""
    torch.manual_seed(0)
    encoder = MINERUserEncoder(D, num_interests=M, code_dim=5).double()
    clicks = torch.where(MASK.unsqueeze(2), drawn(4, H, D), 1e4)
    generator = torch.Generator().manual_seed(2)
    items = torch.randint(0, 6, (4, H + K), generator=generator)
    with torch.no_grad():
        return {
            "user_BMD": encoder(clicks, MASK),
            "candidates_BKD": drawn(4, K, D, seed=1),
            "mask": MASK,
            "clicks": clicks,
            "click_items": items[:, :H],
            "candidate_items": items[:, H:],
            "click_weights": encoder.click_weights(clicks, MASK),
        }


def cosine(predictor, rows: list[list[int]], one: int, other: int) -> float:
    """Of the means of two items' category vectors; 0 where an item has none."""
    if not rows[one] or not rows[other]:
        return 0.0
    table = predictor.vectors.detach().numpy()
    a, b = (np.mean([table[category] for category in rows[item]], 0) for item in (one, other))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("field, rows", [("category", CATEGORIES), ("tags", TAGS)])
def test_category_miner(aggregation, field, rows, given):
    predictor = CategoryMINERPredictor(
        catalog("title", "tags", "category"), D, field, category_weight=1.5, aggregation=aggregation
    ).double()
    scores = predictor(**given).detach().numpy()
    part = {name: value.numpy() for name, value in given.items()}
    for b, length in enumerate(LENGTHS):
        for k, candidate in enumerate(part["candidates_BKD"][b]):
            if length == 0:
                assert scores[b, k] == 0
                continue
            matches = []
            for m in range(M):
                raised = [
                    part["click_weights"][b, i, m]
                    * np.exp(
                        1.5
                        * cosine(predictor, rows, part["click_items"][b, i], part["candidate_items"][b, k])
                    )
                    for i in range(length)
                ]
                interest = sum(w * part["clicks"][b, i] for i, w in enumerate(raised)) / sum(raised)
                matches.append(interest @ candidate)
            expected = joined(predictor, np.array(matches), candidate, part["user_BMD"][b])
            np.testing.assert_allclose(scores[b, k], expected, rtol=1e-10)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_without_categories_it_is_miner(aggregation, given):
    predictor = CategoryMINERPredictor(catalog("category"), D, aggregation=aggregation).double()
    plain = MINERPredictor(D, aggregation).double()
    plain.load_state_dict({key: value for key, value in predictor.state_dict().items() if key != "vectors"})
    expected = plain(given["user_BMD"], given["candidates_BKD"])
    assert not torch.allclose(predictor(**given), expected)
    nothing = given | {"candidate_items": torch.full((4, K), 3)}
    torch.testing.assert_close(predictor(**nothing), expected)
    # One category everywhere: the same factor for every click.
    same = {name: torch.full_like(given[name], 1) for name in ("click_items", "candidate_items")}
    torch.testing.assert_close(predictor(**given | same), expected)


def test_a_click_of_the_candidates_category_weighs_more(given):
    predictor = CategoryMINERPredictor(catalog("category"), D, aggregation="mean").double()
    torch.nn.init.eye_(predictor.vectors)
    clicks = torch.eye(D).double()[:2].expand(1, 2, D)
    scores = predictor(
        torch.zeros(1, 1, D).double(),
        clicks,  # candidate k is click k, and of its category
        torch.ones(1, 2, dtype=torch.bool),
        clicks,
        torch.tensor([[0, 1]]),
        torch.tensor([[5, 4]]),
        torch.full((1, 2, 1), 0.5).double(),
    )
    torch.testing.assert_close(scores, torch.full((1, 2), math.e**0.5 / (math.e**0.5 + 1)).double())


@pytest.mark.parametrize("garbage", [1e4, torch.inf, torch.nan])
def test_masked_places_do_not_matter(garbage, given):
    predictor = CategoryMINERPredictor(catalog("category"), D).double()
    expected = predictor(**given)
    other = {
        "clicks": torch.where(MASK.unsqueeze(2), given["clicks"], garbage).requires_grad_(),
        "click_weights": torch.where(MASK.unsqueeze(2), given["click_weights"], garbage).requires_grad_(),
        "click_items": torch.where(MASK, given["click_items"], 0),
    }
    scores = predictor(**given | other)
    assert torch.equal(scores, expected)
    scores.square().sum().backward()
    grads = [part.grad for part in (*other.values(), *predictor.parameters()) if part.is_floating_point()]
    assert all(grad.isfinite().all() and grad.any() for grad in grads)


def test_no_history_at_all(given):
    predictor = CategoryMINERPredictor(catalog("category"), D).double()
    short = {name: given[name][:, :0] for name in ("mask", "clicks", "click_items", "click_weights")}
    zero = {"user_BMD": torch.zeros(4, M, D).double()}
    assert torch.equal(predictor(**given | short | zero), torch.zeros(4, K).double())


@pytest.mark.parametrize("names, chosen", [(("tags", "category"), CATEGORIES), (("title", "tags"), TAGS)])
def test_the_field_is_that_of_one_category_if_there_is_one(names, chosen):
    predictor = CategoryMINERPredictor(catalog(*names), D)
    found = [[value for value in row if value >= 0] for row in predictor.categories.tolist()]
    assert found == chosen
    assert len(predictor.vectors) == (3 if chosen is CATEGORIES else 4)
    assert "categories" not in predictor.state_dict()


@pytest.mark.parametrize(
    "names, options, message",
    [
        (
            ("title",),
            {},
            r"items must have a field of categories, their fields are title \(text\); add one to",
        ),
        (
            ("title", "tags"),
            {"field": "title"},
            r"`field` must name a field of kind category or categories of title \(text\), "
            r"tags \(categories\), got 'title'",
        ),
        (("tags",), {"field": "topic"}, "`field` must name .*, got 'topic'"),
        (("tags",), {"category_weight": 0.0}, r"`category_weight` must be above 0 \(.*\), got 0.0"),
        (("tags",), {"category_dim": 0}, "`category_dim` must be at least 1, got 0"),
    ],
)
def test_refusals(names, options, message):
    with pytest.raises(ValueError, match=message):
        CategoryMINERPredictor(catalog(*names), D, **options)
