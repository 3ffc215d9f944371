"""Bricks that are declared to fit are trained and ranked together; all others are refused with what fits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from legorec import registry
from legorec.batch import ClickBatch
from legorec.data.clicks import ClickStream, TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.histories import Histories
from legorec.data.ragged import Ragged
from legorec.data.store import Interactions
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.engine.optim import make_optimizer, trainable
from legorec.recommender import Recommender
from legorec.settings import SettingsError, read_command_line
from tests.support.bricks import LANGUAGE_MODELS, NUM_ITEMS, construct, language_model
from tests.support.config_files import DATA, arguments, write_files
from tests.support.ranking import rank

ITEM_KINDS, USER_KINDS = ("source", "item_encoder"), ("user_encoder", "predictor")
JOINTS = (ITEM_KINDS, USER_KINDS, ("user_encoder", "user_plugin"))
ORDER = ("source", "item_encoder", "user_encoder", "user_plugin", "predictor", "objective")
TINY = {
    **{"layers": 1, "num_interests": 3, "code_dim": 8, "category_dim": 4, "attention_dims": [8]},
    # Of fewer rectified units all may be silent for all users, who are much alike before training.
    **{"mlp_dims": [32], "mlp1_dims": [32], "mlp2_dims": [32], "num_negatives": 2},
}
Combination = tuple[str, str, str, str | None, str, str]  # in the order of ORDER


def pairs(kinds: tuple[str, str], fit: bool) -> list[tuple[str, str]]:
    """The pairs of these kinds that are declared to fit, or those that are not."""
    every = itertools.product(*map(registry.names, kinds))
    return [pair for pair in every if fit is not bool(registry.misfits(dict(zip(kinds, pair, strict=True))))]


ITEMS, USERS = pairs(ITEM_KINDS, fit=True), pairs(USER_KINDS, fit=True)
PLUGGED = set(pairs(JOINTS[2], fit=True))


def behind(items: Iterable[tuple[str, str]]) -> list[Combination]:
    """Every combination with these sources and item encoders."""
    plugins = (None, *registry.names("user_plugin"))
    objectives = registry.names("objective")  # it looks into the folder
    return [
        (*of_items, user_encoder, plugin, predictor, objective)
        for of_items in items
        for user_encoder, predictor in USERS
        for plugin in plugins
        if plugin is None or (user_encoder, plugin) in PLUGGED
        for objective in objectives
    ]


@cache
def a_few(count: int) -> list[Combination]:
    """A seeded sample in which every brick has a part."""
    every, seen = behind(ITEMS), set()
    random.Random(0).shuffle(every)
    with_new, others = [], []
    for chosen in every:
        (with_new if set(enumerate(chosen)) - seen else others).append(chosen)
        seen |= set(enumerate(chosen))
    assert len(with_new) <= count, "the sample is too small for the bricks that there are"
    return with_new + others[: count - len(with_new)]


@cache
def data() -> tuple[Interactions, Histories]:
    """Impressions of 1 to 4 items over six histories of 0 to 6 clicks, item 3, which has no token, in all."""
    rng = np.random.default_rng(0)
    clicks = Ragged.from_lists([[], [3], [1, 4, 5], [0, 2, 7, 8, 9, 3], [6, 6], [10, 11, 3, 1]], np.int32)
    spans = np.stack([clicks.offsets[:-1], clicks.offsets[1:]], 1)
    user = np.array([0, 1, 2, 3, 4, 5, 3, 1, 0, 2, 5, 4], dtype=np.int32)
    shown = Ragged.from_lists(
        [rng.choice(NUM_ITEMS, size, replace=False) for size in (4, 3, 2, 4, 1, 3, 2, 4, 3, 2, 1, 4)],
        np.int32,
    )
    labels = np.zeros(len(shown.values), dtype=np.uint8)
    labels[shown.offsets[:-1]] = 1
    return Interactions(user, user, shown, labels, None, None), Histories(clicks.values, spans)


class OneBatch:
    """An epoch of one batch of training examples for an objective."""

    seed = 1

    def __init__(self, positives_only: bool, num_negatives: int) -> None:
        given = {"positives_only": positives_only, "num_negatives": num_negatives}
        self.only = ClickStream(TrainingClicks(*data(), NUM_ITEMS), batch_size=12, seed=1, **given).batch(0)

    def epoch(self, number: int) -> range:
        return range(number, number + 1)

    def batch(self, number: int) -> ClickBatch:
        return self.only


one_batch = cache(OneBatch)


class Bricks:
    """Bricks behind one source and item encoder, each built once and handed out with its first weights."""

    def __init__(self, source: str, item_encoder: str, **changes: Any) -> None:
        folder = language_model(LANGUAGE_MODELS.get(item_encoder, "llama")).folder
        self.told: dict[str, Any] = TINY | changes | {"checkpoint": str(folder)}
        self._built: dict[tuple[str, str], tuple[nn.Module, dict[str, Tensor]]] = {}
        first = self._brick("source", source)
        self.told |= {"input_dim": first.dim, "token_dim": first.dim, "field_kinds": first.field_kinds}
        if hasattr(first, "pretrained"):
            self.told |= {"pretrained": first.pretrained, "depth": first.depth}
        self.told["input_dim"] = self._brick("item_encoder", item_encoder).output_dim

    def model(self, chosen: Combination) -> Recommender:
        bricks = dict(zip(ORDER, chosen, strict=True))
        del bricks["objective"]
        return Recommender(
            **{kind: None if name is None else self._brick(kind, name) for kind, name in bricks.items()}
        )

    def _brick(self, kind: str, name: str) -> Any:
        if (kind, name) not in self._built:
            brick = construct(kind, name, **self.told)
            state = {key: value.clone() for key, value in brick.state_dict().items()}
            self._built[kind, name] = brick, state
        brick, state = self._built[kind, name]
        brick.load_state_dict(state)
        return brick


def take_a_step(model: Recommender, objective_name: str) -> None:
    """One step of the training loop: the loss is finite, and every brick that can learn has learned."""
    objective = construct("objective", objective_name, **TINY)
    bricks = {kind: trainable(brick) for kind, brick in model.named_children()}
    before = {
        kind: [value.detach().clone() for value in learned.values()] for kind, learned in bricks.items()
    }
    stream = one_batch(objective.positives_only, objective.num_negatives)
    progress = next(fit(model, stream, objective, make_optimizer(model, lr=0.01), FitOptions(), Progress()))
    assert progress.step == 1 and progress.counts["examples"] > 0 and np.isfinite(progress.loss)
    for kind, learned in bricks.items():
        now = learned.values()
        assert all(value.isfinite().all() for value in now), f"the {kind} is not finite"
        same = all(torch.equal(*both) for both in zip(before[kind], now, strict=True))
        assert not same or not learned, f"the {kind} has not changed"


def rank_both_ways(model: Recommender) -> None:
    """Fast scores are the slow ones, item by item (one has no token) and in several pages of histories."""
    impressions = Impressions(*data(), NUM_ITEMS)
    fast = rank(model, impressions, batch_size=4, item_page_size=1)
    slow = rank(model, impressions, batch_size=4, fast=False)
    assert np.isfinite(fast.score).all()
    # Of sums in another order: scores may be some tens.
    assert np.abs(fast.score - slow.score).max() <= 1e-5 * max(1.0, float(np.abs(slow.score).max()))


def said(chosen: Combination) -> str:
    return "-".join(map(str, chosen))


@pytest.mark.parametrize("chosen", a_few(36), ids=said)
def test_r15_some_combinations_train_and_rank(chosen: Combination) -> None:
    model = Bricks(*chosen[:2]).model(chosen)
    take_a_step(model, chosen[-1])
    rank_both_ways(model)


def test_there_are_combinations() -> None:
    every = behind(ITEMS)
    assert len(ITEMS) >= 38 and len(USERS) >= 150 and len(every) >= 20_000
    for kind, there in zip(ORDER, zip(*every, strict=True), strict=True):
        assert set(there) >= set(registry.names(kind)), kind


def failing(combinations: Iterable[Combination], bricks: Bricks, ranked: bool) -> str:
    """What went wrong with which of them, line by line."""
    wrong = []
    for chosen in combinations:
        try:
            model = bricks.model(chosen)
            take_a_step(model, chosen[-1])
            if ranked:
                rank_both_ways(model)
        except Exception as error:
            wrong.append(f"{said(chosen)}: {type(error).__name__}: {error}")
    return "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("items", ITEMS, ids="-".join)
def test_every_combination_trains(items: tuple[str, str]) -> None:
    wrong = failing(behind([items]), Bricks(*items), ranked=False)
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("items", [("table", "naml"), ("states", "nrms")], ids="-".join)
def test_r15_every_user_encoder_and_predictor_ranks_both_ways(items: tuple[str, str]) -> None:
    objective = registry.names("objective")[0]
    combinations = [chosen for chosen in behind([items]) if chosen[-1] == objective]
    wrong = failing(combinations, Bricks(*items), ranked=True)
    assert not wrong, wrong


@pytest.mark.slow
def test_r15_every_source_and_item_encoder_ranks_both_ways() -> None:
    behind_all = ("nrms", None, "dot", "pointwise")
    wrong = [failing([(*items, *behind_all)], Bricks(*items), ranked=True) for items in ITEMS]
    assert not any(wrong), "\n".join(filter(None, wrong))


def gradients_of(model: Recommender, page_size: int) -> dict[str, Tensor]:
    """What one batch asks of every parameter."""
    model.item_page_size = page_size
    model.zero_grad()
    objective = construct("objective", "sampled_softmax", **TINY)
    objective(model, one_batch(objective.positives_only, objective.num_negatives).batch(0)).total.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


IN_PAGES = [
    pytest.param(items, marks=[pytest.mark.slow] if items[0] != "table" else [], id="-".join(items))
    for items in ITEMS
]


@pytest.mark.parametrize("items", IN_PAGES)
def test_pages_of_items_ask_for_the_same_gradients(items: tuple[str, str]) -> None:
    model = Bricks(*items).model((*items, "nrms", None, "dot", "sampled_softmax")).eval()
    whole = gradients_of(model, 0)
    for page_size in (1, 4):
        paged = gradients_of(model, page_size)
        assert paged.keys() == whole.keys() and whole
        for name, value in whole.items():
            rounding = 1e-5 * float(value.abs().max()) + 1e-7  # of sums in another order
            torch.testing.assert_close(paged[name], value, rtol=0, atol=rounding, msg=name)


def command(folder: Path, **chosen: str) -> list[str]:
    """The command line of a model of these bricks, with all that they need of the other layers."""
    first = {"source": "table", "item_encoder": "nrms", "user_encoder": "naml", "predictor": "dot"}
    bricks = {
        kind: registry.find(kind, name)
        for kind, name in (first | {"objective": "pointwise"} | chosen).items()
    }
    lines = ["name: made-up"]
    for kind, brick in bricks.items():
        needed = [each.name for each in brick.settable if each.required]
        lines += [f"{kind}:", f"  name: {brick.name}", *(f"  {each}: none" for each in needed)]
    write_files(folder)
    (folder / "model.yaml").write_text("\n".join(lines))
    offered = {each for brick in bricks.values() for each in brick.offered}
    if "codes" in offered:
        (folder / "codes.safetensors").touch()
        (folder / "embed.yaml").write_text(f"codes: {{path: {folder}/codes.safetensors}}\n")
    if "profiles" in offered:
        (folder / "data.yaml").write_text(DATA + "user_fields: {gender: }\n")
    return arguments(folder, "--llm_ver", "x")


def around(kinds: tuple[str, str], pair: tuple[str, str]) -> dict[str, str]:
    """Bricks beside a pair, such that nothing else is wrong."""
    chosen = dict(zip(kinds, pair, strict=True))
    if "predictor" not in chosen and "user_encoder" in chosen:
        fitting = (predictor for encoder, predictor in USERS if encoder == chosen["user_encoder"])
        chosen["predictor"] = next(fitting)
    if "item_encoder" not in chosen:
        chosen["item_encoder"] = next(encoder for source, encoder in ITEMS if source == "table")
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("kinds", JOINTS, ids="-".join)
def test_what_fits_is_taken_when_the_config_is_read(tmp_path: Path, kinds: tuple[str, str]) -> None:
    for pair in pairs(kinds, fit=True):
        model = read_command_line(command(tmp_path, **around(kinds, pair))).model
        assert tuple(getattr(model, kind).name for kind in kinds) == pair


@pytest.mark.parametrize("kinds", JOINTS, ids="-".join)
def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, kinds: tuple[str, str]) -> None:
    fitting, wrong = pairs(kinds, fit=True), pairs(kinds, fit=False)
    assert fitting and wrong
    givers, takers = (f"{kind.replace('_', ' ')}s that fit: " for kind in kinds)
    for giver, taker in wrong:
        argv = command(tmp_path, **around(kinds, (giver, taker)))
        with pytest.raises(SettingsError) as caught:
            read_command_line(argv)
        problems = caught.value.problems
        lines = (tmp_path / "model.yaml").read_text().splitlines()
        line = lines.index(f"{kinds[1]}:") + 2
        assert {each.place for each in problems} == {f"model.{kinds[1]}.name"}, problems
        assert {each.origin for each in problems} == {f"{tmp_path}/model.yaml:{line}"}
        message = problems[0].message
        assert f"'{taker}' " in message and f"'{giver}' gives " in message
        other_takers = [second for first, second in fitting if first == giver]
        other_givers = [first for first, second in fitting if second == taker]
        assert f"; {takers}{', '.join(other_takers) or 'none'}; " in message, message
        assert message.endswith(f"; {givers}{', '.join(other_givers) or 'none'}"), message
