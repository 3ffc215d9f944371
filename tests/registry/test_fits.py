"""What bricks give, take and ask for is read right, and what cannot work together is told in full."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from legorec import registry
from tests.support.foreign_bricks import DEFAULTS, TAKERS, filled, given_by, put_on_path, taken_by


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)


def made_up(kind: str, name: str) -> registry.Brick:
    return registry.find(kind, f"fits_lab.{name}")


def test_what_ast_reads_is_what_the_class_says() -> None:
    for kind in DEFAULTS:
        assert {name: registry.gives(registry.find(kind, name)) for name in registry.names(kind)} == given_by(
            kind
        )
    for kind in TAKERS:
        read = {name: registry.accepts(registry.find(kind, name)) for name in registry.names(kind)}
        assert read == taken_by(kind)


def test_what_is_given_has_a_taker_and_what_is_taken_a_giver() -> None:
    for giver, taker in (("source", "item_encoder"), ("user_encoder", "predictor")):
        taken = {value for values in taken_by(taker).values() for value in values}
        assert set(given_by(giver).values()) == taken
    assert {value for values in taken_by("user_plugin").values() for value in values} <= set(
        given_by("user_encoder").values()
    )


@pytest.mark.parametrize("kind", registry.EXTRAS)
def test_extras_are_what_forward_names_behind_its_tensors(kind: str) -> None:
    asking = 0
    for name in registry.names(kind):
        brick = registry.find(kind, name)
        named = list(inspect.signature(registry.load(brick).forward).parameters)
        assert registry.extras(brick) == tuple(named[1 + registry.NUM_TENSORS[kind] :]), name
        assert set(registry.extras(brick)) <= set(registry.EXTRAS[kind])
        assert registry.unknown_extras(brick) == ()
        asking += bool(registry.extras(brick))
    assert asking > 0


@pytest.mark.parametrize(
    ("kind", "name", "offered", "unknown"),
    [
        ("user_encoder", "Clicks", ("user", "states"), ()),
        ("user_encoder", "Plain", ("user",), ()),
        ("predictor", "Any", ("mask", "candidate_items"), ()),
        ("predictor", "Greedy", ("clicks",), ("weather", "season")),
        ("user_encoder", "Late", (), ("weather",)),
        ("user_plugin", "Plugin", ("user",), ("weather",)),
        ("item_encoder", "Eyes", (), ()),
        ("source", "GreedySource", (), ("moment",)),
        ("objective", "Loss", (), ()),
        ("objective", "Module", (), ()),
    ],
)
def test_extras_of_a_brick_from_elsewhere(
    kind: str, name: str, offered: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    brick = made_up(kind, name)
    assert registry.unknown_extras(brick) == unknown
    assert set(registry.extras(brick)) == {*offered, *unknown}
    assert len(registry.extras(brick)) == len(offered) + len(unknown)


def test_what_a_brick_from_elsewhere_gives_and_takes() -> None:
    assert registry.gives(made_up("user_encoder", "Clicks")) == "clicks"
    assert registry.gives(made_up("user_encoder", "Plain")) == "vector"
    assert registry.gives(made_up("source", "Plain")) == "tokens"
    assert registry.accepts(made_up("item_encoder", "Eyes")) == ("pixels", "layers")
    assert registry.accepts(made_up("item_encoder", "Plain")) == ("tokens", "states")
    assert registry.accepts(made_up("user_plugin", "Plain")) == ("vector", "interests")
    assert registry.accepts(made_up("predictor", "Greedy")) == ("vector",)


def test_what_is_inherited_counts() -> None:
    heir = made_up("user_encoder", "Heir")
    assert registry.gives(heir) == "interests" and "click_weights" in heir.methods
    assert list(heir.inputs) == ["clicks_BHD", "mask_BH"] and heir.parameters[0].name == "input_dim"
    assert registry.misfits({"user_encoder": "fits_lab.Heir", "predictor": "category_miner"}) == []


@pytest.mark.parametrize(
    ("name", "got"), [("Computed", r"\('vector',\) \+ \('clicks',\)"), ("OneName", "'interests'")]
)
def test_what_cannot_be_read_is_refused(name: str, got: str) -> None:
    message = rf"fits_lab\.py:\d+ `takes` must be a tuple of texts, .*, written out; got {got}$"
    with pytest.raises(registry.RegistryError, match=message):
        made_up("predictor", name)


# bricks that do not fit, the kind that is blamed, and the whole message; lists are filled in by ``fitting``
MISFITS: list[tuple[dict[str, str], str, str]] = [
    (
        {"source": "ids", "item_encoder": "nrms"},
        "item_encoder",
        "'nrms' reads tokens or states, but the source 'ids' gives vector; item encoders that fit: "
        "{item_encoder vector}; sources that fit: {source tokens states}",
    ),
    (
        {"source": "fits_lab.Images", "item_encoder": "single"},
        "item_encoder",
        "'single' reads vector, but the source 'fits_lab.Images' gives pixels; item encoders that fit: none; "
        "sources that fit: {source vector}",
    ),
    (
        {"source": "states", "item_encoder": "fits_lab.Eyes"},
        "item_encoder",
        "'fits_lab.Eyes' reads pixels or layers, but the source 'states' gives states; item encoders that "
        "fit: {item_encoder states}; sources that fit: {source layers}",
    ),
    (
        {"user_encoder": "nrms", "predictor": "din"},
        "predictor",
        "'din' takes clicks, but the user encoder 'nrms' gives vector; predictors that fit: "
        "{predictor vector}; user encoders that fit: {user_encoder clicks}",
    ),
    (
        {"user_encoder": "miner", "predictor": "dot"},
        "predictor",
        "'dot' takes vector, but the user encoder 'miner' gives interests; predictors that fit: "
        "{predictor interests}; user encoders that fit: {user_encoder vector}",
    ),
    (
        {"user_encoder": "fits_lab.Clicks", "user_plugin": "profile"},
        "user_plugin",
        "'profile' takes vector or interests, but the user encoder 'fits_lab.Clicks' gives clicks; user "
        "plugins that fit: none; user encoders that fit: {user_encoder vector interests}",
    ),
    (
        {"user_encoder": "fits_lab.Interests", "predictor": "category_miner"},
        "predictor",
        "'category_miner' needs the weights of the clicks, which the user encoder 'fits_lab.Interests' does "
        "not tell; user encoders that fit: miner",
    ),
    (
        {"source": "ids", "user_encoder": "flatten_transformer"},
        "user_encoder",
        "'flatten_transformer' reads the tokens of items, but the source 'ids' gives vector; sources that "
        "fit: {source tokens states}",
    ),
    (
        {"user_encoder": "fits_lab.Interests", "predictor": "fits_lab.Weighing"},
        "predictor",
        "'fits_lab.Weighing' needs the weights of the clicks, which the user encoder 'fits_lab.Interests' "
        "does not tell; user encoders that fit: miner",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "kind", "message"), MISFITS, ids=["-".join(each[0].values()) for each in MISFITS]
)
def test_what_does_not_fit_is_told_in_full(chosen: dict[str, str], kind: str, message: str) -> None:
    assert registry.misfits(chosen) == [(kind, filled(message))]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"predictor": "din"},
        {"source": "fits_lab.Images", "item_encoder": "fits_lab.Eyes"},
        {"source": "layers", "item_encoder": "fits_lab.Eyes"},
        {"source": "states", "item_encoder": "naml", "user_encoder": "nrms", "predictor": "dot"},
        {"user_encoder": "history", "predictor": "fits_lab.Any"},
        {"user_encoder": "fits_lab.Weighed", "predictor": "category_miner"},
        {"user_encoder": "miner", "user_plugin": "profile", "predictor": "fits_lab.Weighing"},
        {"user_encoder": "fits_lab.Plain", "predictor": "fits_lab.Greedy"},
        {"user_encoder": "naml", "predictor": "dot", "objective": "fits_lab.Loss"},
    ],
    ids=lambda chosen: "-".join(chosen.values()) or "nothing",
)
def test_what_fits_is_not_blamed(chosen: dict[str, str]) -> None:
    assert registry.misfits(chosen) == []


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    chosen = {"source": "ids", "item_encoder": "nrms", "user_encoder": "history", "user_plugin": "profile"}
    found = registry.misfits(chosen | {"predictor": "dot"})
    assert [kind for kind, _ in found] == ["item_encoder", "user_plugin", "predictor"]


def test_a_brick_that_is_not_there_is_told() -> None:
    with pytest.raises(registry.RegistryError, match="no predictor 'dott'; there are .* did you mean 'dot'"):
        registry.misfits({"user_encoder": "naml", "predictor": "dott"})
