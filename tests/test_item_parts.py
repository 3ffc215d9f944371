"""Items from several sources: what a part adds, what it does not know, and that pages change nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from legorec.batch import TokenStates
from legorec.engine.optim import make_optimizer
from legorec.item_encoders.naml import NAMLItemEncoder
from legorec.item_encoders.single import SingleItemEncoder
from legorec.item_parts import ONLY, PartsItemEncoder, PartsSource, PartStates, item_parts
from legorec.joins.gate import GateJoin
from legorec.joins.sum import SumJoin
from legorec.nn.drawing import belonging, drawing, entry
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.sources.ids import IdsSource
from legorec.sources.table import TableSource
from legorec.user_encoders.flatten_transformer import FlattenTransformerUserEncoder
from legorec.user_encoders.naml import NAMLUserEncoder
from tests.support import small

DIM = 16
SEEN = torch.arange(small.NUM_ITEMS) % 3 > 0
CLICKS = torch.arange(small.NUM_ITEMS) % 5
EVERY = torch.arange(small.NUM_ITEMS)


def words() -> tuple[TableSource, NAMLItemEncoder]:
    items = small.catalog()
    kinds = [field.kind for field in items.fields]
    return TableSource(items, DIM), NAMLItemEncoder(DIM, kinds, hidden_dim=DIM, dropout=0.2)


def ids(width: int = 5) -> tuple[IdsSource, SingleItemEncoder]:
    """Projected, with a bias, so that a vector of zero is no accident."""
    return IdsSource(small.NUM_ITEMS, width), SingleItemEncoder(width, DIM)


def model(dropout: float = 0.0, page_size: int = 0, gate: bool = False) -> Recommender:
    torch.manual_seed(0)
    parts = {"ids": ids(), "words": words()}
    source = PartsSource({name: each[0] for name, each in parts.items()}, small.NUM_ITEMS)
    source.note_seen(SEEN, CLICKS)
    join = GateJoin(DIM, 2) if gate else SumJoin()
    encoders = {name: each[1] for name, each in parts.items()}
    encoder = PartsItemEncoder(encoders, join, {"ids": dropout, "words": dropout / 2}, source.learning)
    return Recommender(source, encoder, NAMLUserEncoder(DIM), DotPredictor(), item_page_size=page_size)


def alone(made: Recommender) -> dict[str, Tensor]:
    """The vectors of each part by itself."""
    return {part.name: part.item_encoder(part.source(EVERY)) for part in made.item_parts}


def test_one_part_equals_the_part_alone() -> None:
    source, encoder = words()
    one = PartsItemEncoder({"words": encoder}, SumJoin(), {"words": 0.0})
    joined = Recommender(
        PartsSource({"words": source}, small.NUM_ITEMS), one, NAMLUserEncoder(DIM), DotPredictor()
    )
    plain = Recommender(source, encoder, joined.user_encoder, DotPredictor())
    assert [part.name for part in item_parts(source, encoder)] == [ONLY]
    batch = small.stream().batch(0)
    for training in (False, True):
        found = []
        for each in (joined, plain):
            each.train(training).zero_grad()
            with drawing(1, 2):
                scores = each(batch)
            scores.square().sum().backward()
            found.append((scores, source.learned.grad.clone(), encoder.pool.query.grad.clone()))
        for mine, other in zip(*found, strict=True):
            assert torch.equal(mine, other)


def test_the_sum_of_parts_is_the_sum_of_their_vectors() -> None:
    made = model().eval()
    vectors = alone(made)
    whole = made.encode_items(EVERY)
    assert torch.equal(whole[SEEN], (vectors["ids"] + vectors["words"])[SEEN])


@pytest.mark.parametrize("gate", [False, True])
def test_an_id_that_training_never_saw_adds_nothing_and_learns_nothing(gate: bool) -> None:
    made = model(gate=gate)
    whole, vectors = made.eval().encode_items(EVERY), alone(made)
    assert vectors["ids"][~SEEN].any()
    torch.testing.assert_close(whole[~SEEN], vectors["words"][~SEEN], rtol=0, atol=0)
    made.train()(small.stream().batch(0)).square().sum().backward()
    learned = made.source["ids"].learned.grad
    assert not learned[~SEEN].any() and learned[SEEN].any()


@pytest.mark.parametrize("least", [1, 3, 9])
def test_ids_with_few_clicks_are_as_those_that_training_never_saw(least: int) -> None:
    made = model()
    made.source.least_clicks = least
    made.source.note_seen(SEEN, CLICKS)
    known = SEEN & (CLICKS >= least)
    made.encode_items(EVERY).square().sum().backward()
    learned = made.source["ids"].learned.grad
    assert torch.equal(learned.abs().sum(1) > 0, known)
    vectors, whole = alone(made.eval()), made.encode_items(EVERY)
    assert torch.equal(whole[~known], vectors["words"][~known])


def test_ids_are_left_out_at_random_and_others_carry_the_item() -> None:
    made = model(dropout=0.5).train()
    for module in made.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0

    def drawn(step: int, items: Tensor) -> Tensor:
        with drawing(3, step):
            return made.encode_items(items)

    vectors = alone(made)
    states = {
        "both": vectors["words"] + torch.where(SEEN.unsqueeze(1), vectors["ids"], 0.0),
        "words": vectors["words"],
        "ids": vectors["ids"],
    }
    counts = dict.fromkeys(states, 0)
    for step in range(20):
        found = drawn(step, EVERY)
        assert torch.equal(found, drawn(step, EVERY))
        torch.testing.assert_close(found[:7], drawn(step, EVERY[:7]))  # it belongs to the item, not the batch
        for row in EVERY[SEEN & (small.catalog().lengths.sum(1) > 0)].tolist():
            (same,) = [
                name for name, each in states.items() if torch.allclose(found[row], each[row], atol=1e-6)
            ]
            counts[same] += 1
        assert torch.allclose(found[~SEEN], vectors["words"][~SEEN], atol=1e-6)  # its last part stays
    share = {name: count / sum(counts.values()) for name, count in counts.items()}
    # Ids are kept by a half and words by three quarters; where none is left, both stay.
    assert abs(share["words"] - 0.375) < 0.05 and abs(share["ids"] - 0.125) < 0.04, share


def test_pages_give_the_same_vectors_and_gradients() -> None:
    found = []
    for page_size in (0, 7):
        made = model(dropout=0.4, page_size=page_size).train()
        with drawing(5, 6):
            loss = SampledSoftmaxObjective(3)(made, small.stream().batch(0)).total
        loss.backward()
        found.append((loss, {name: value.grad for name, value in made.named_parameters()}))
    (whole, grads), (paged, again) = found
    torch.testing.assert_close(paged, whole)
    for name, value in grads.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_table_scores_equal_online_scores() -> None:
    made, batch = model().eval(), small.stream().batch(0)
    torch.testing.assert_close(made(batch, made.encode_items(EVERY)), made(batch))


def test_an_item_without_tokens_in_a_part_gives_the_weight_to_the_others() -> None:
    made = model(gate=True).eval()
    states, nothing = made.source(EVERY), torch.zeros(small.NUM_ITEMS, 2, dtype=torch.int64)
    empty = TokenStates(states.parts["words"].values[:0], nothing)
    found = made.item_encoder(PartStates({"ids": states.parts["ids"], "words": empty}, states.seen))
    torch.testing.assert_close(found[SEEN], alone(made)["ids"][SEEN])
    assert not found[~SEEN].any()


def test_new_items_are_known_by_their_content_alone() -> None:
    made = model().eval()
    tokens = made.source["words"].catalog.tokens(EVERY[:4])
    words_alone = made.item_encoder["words"](made.source["words"].embed(tokens))
    assert torch.equal(made.encode_new_items({"words": tokens}), words_alone)


def test_what_was_seen_is_saved_with_the_weights() -> None:
    made = model()
    other = copy.deepcopy(made)
    other.source.note_seen(torch.ones_like(SEEN), CLICKS)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.source.seen, SEEN)


def test_each_part_has_its_rate() -> None:
    made = model()
    for part in made.item_parts:
        for brick in (part.source, part.item_encoder):
            brick.learning_rate = 0.5 if part.name == "ids" else None
    groups = {group["base_lr"]: group["params"] for group in make_optimizer(made, lr=0.1).param_groups}
    own = {id(value) for part in made.item_parts[:1] for brick in part[1:] for value in brick.parameters()}
    assert {id(value) for value in groups[0.5]} == own and set(groups) == {0.1, 0.5}


def test_parts_of_two_widths_are_refused() -> None:
    encoders = {"ids": SingleItemEncoder(4, 8), "words": SingleItemEncoder(4, 16)}
    with pytest.raises(ValueError, match=r"one width \(`hidden_dim`\), got ids 8, words 16"):
        PartsItemEncoder(encoders, SumJoin(), {})


def test_tokens_of_several_parts_are_refused() -> None:
    made = model()
    reader = FlattenTransformerUserEncoder(input_dim=DIM, token_dim=DIM, max_history=6)
    with pytest.raises(ValueError, match="reads the tokens of items, and items of several parts have none"):
        Recommender(made.source, made.item_encoder, reader, DotPredictor())


def test_dropout_of_parts_draws_by_item_in_the_program() -> None:
    made = model(dropout=0.5).train()
    with drawing(1, 1):
        at = entry("items")
        with belonging(at, EVERY):
            first = made.item_encoder(made.source(EVERY))
        with belonging(at, EVERY.flip(0)):
            second = made.item_encoder(made.source(EVERY.flip(0)))
    torch.testing.assert_close(first, second.flip(0))
