"""Types of models that no row names: accepted if lower and upper half are the whole, else refused (R18)."""

from __future__ import annotations

import pytest
import torch

from legorec.lm import cut_check
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.drawn import draw_weights
from legorec.lm.layout import layout_of, row_of
from legorec.lm.lora import LoRA, inject, load_adapter, save_adapter
from legorec.lm.model_types import FAMILIES, Family
from legorec.lm.pretrained import Pretrained
from tests.lm.types import EVERY
from tests.support.tiny import difference, packed_ids, states_of, whole
from tests.support.unnamed import save

IDS, LENGTHS = packed_ids([5, 0, 1, 9, 5])
IDS = IDS % 50 + 5
DEPTHS = range(4)


@pytest.fixture
def unnamed(tmp_path):
    return lambda model_type, **facts: Pretrained(save(tmp_path / model_type, model_type, **facts))


@pytest.mark.parametrize("model_type", ["deck", "card"])
def test_r18_an_unknown_type_whose_halves_are_the_whole_is_accepted(unnamed, model_type):
    pretrained = unnamed(model_type)
    assert model_type not in FAMILIES and pretrained.tried
    expected = states_of(whole(pretrained), IDS, LENGTHS)
    states = LowerLayers(pretrained, DEPTHS)(IDS, LENGTHS)
    for depth in DEPTHS:
        upper = UpperLayers(pretrained, depth).eval()
        assert difference(upper(states[depth], LENGTHS), expected) < 1e-6
    assert pretrained.checked == {*DEPTHS}


def test_what_is_read_off_them(unnamed):
    assert row_of(unnamed("deck").family) == (
        "Family('deck', 'cards', after=('last',), positions=('places',), targets=(), layer_outputs=2, "
        "own_masks=True, short_rows=False)"
    )
    assert row_of(unnamed("card").family) == (
        "Family('card', 'inner.stack', embeddings=('begin',), positions_behind_padding=True, causal=False, "
        "targets=('query', 'value'), layer_outputs=2, own_masks=True, short_rows=False)"
    )


@pytest.mark.parametrize(
    ("model_type", "read", "exact"),
    [("deck", "scale", [3]), ("deck", "first", [0, 3]), ("card", "padding", [])],
)
def test_r18_one_whose_halves_do_not_make_the_whole_is_refused(unnamed, model_type, read, exact):
    """Scaled twice, which a norm evens out above; a layer that reads the input of the first; no mask."""
    pretrained = unnamed(model_type, read=read)
    message = (
        rf"is a model of type '{model_type}', whose cut is not known: taken as Family\('{model_type}', .*\), "
        r"at depth \d its lower and upper half are \S+ away from the whole; docs/add-a-brick.md"
    )
    for depth in DEPTHS:
        if depth in exact:
            UpperLayers(pretrained, depth)
            continue
        with pytest.raises(ValueError, match=message) as refused:
            UpperLayers(pretrained, depth)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message):
        LowerLayers(pretrained, [0, 1])


def test_one_without_a_list_of_layers_is_refused(unnamed):
    pretrained = unnamed("card", read="no list")
    with pytest.raises(ValueError, match="must have one list of its 3 layers, it has none; docs/add-a-brick"):
        UpperLayers(pretrained, 1)


def test_the_weights_are_not_read_for_it_and_it_is_tried_once(unnamed, monkeypatch):
    pretrained = unnamed("deck")
    (pretrained.folder / "model.safetensors").rename(pretrained.folder / "away")
    state, tried = torch.get_rng_state(), []
    monkeypatch.setattr("legorec.lm.cut.check_cut", lambda *given: tried.append(given[1]))
    for _ in range(2):
        with pytest.raises(ValueError, match="has no model.safetensors"):
            UpperLayers(pretrained, 1)
    assert tried == [[1]]
    monkeypatch.undo()
    cut_check.check_cut(pretrained, [0, 2], LowerLayers, UpperLayers)
    assert torch.equal(torch.get_rng_state(), state)


def test_where_sizes_are_asked_for_nothing_is_tried(unnamed):
    pretrained = unnamed("deck", read="scale")
    with torch.device("meta"):
        assert {value.device.type for value in UpperLayers(pretrained, 1).parameters()} == {"meta"}
    assert not pretrained.checked


def test_lora_finds_usual_layers_or_asks_for_their_names(unnamed, tmp_path):
    pretrained = unnamed("card")
    given = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1]
    upper, other = UpperLayers(pretrained, 1).eval(), UpperLayers(pretrained, 1).eval()
    plain, chosen = upper(given, LENGTHS), LoRA(r=2, dropout=0.0)
    for model in (upper, other):
        inject(model, pretrained, chosen)
    assert torch.equal(upper(given, LENGTHS), plain)
    tuned = [value for value in upper.parameters() if value.requires_grad]
    assert len(tuned) == 2 * 2 * 2  # layers, targets, sides
    for value in tuned:
        torch.nn.init.normal_(value)
    save_adapter(upper, pretrained, tmp_path / "adapter", chosen)
    assert {each.name for each in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }, "transformers has no model with a head for it"
    load_adapter(other, pretrained, tmp_path / "adapter")
    assert torch.equal(other(given, LENGTHS), upper(given, LENGTHS))

    deck = unnamed("deck")
    with pytest.raises(
        ValueError, match="`lora.targets` must be named for .* type 'deck'.*attention.wander_k, attention.wan"
    ):
        inject(UpperLayers(deck, 1), deck, LoRA())
    inject(UpperLayers(deck, 1), deck, LoRA(targets=["wander_q", "wander_v"]))


def test_versions_that_scale_the_input_of_a_known_type_are_found(checkpoint, monkeypatch):
    """Gemma's scale was in the model's forward, and is in its embeddings now."""
    pretrained = Pretrained(checkpoint("gemma2").folder)
    UpperLayers(pretrained, 1)
    assert pretrained.checked == {1}
    model = type(pretrained.skeleton())
    forward = model.forward

    def scaling(self, *args, inputs_embeds=None, **kwargs):
        embeds = None if inputs_embeds is None else inputs_embeds * 2.0
        return forward(self, *args, inputs_embeds=embeds, **kwargs)

    monkeypatch.setattr(model, "forward", scaling)
    with pytest.raises(ValueError, match="'gemma2', whose cut is not known: .* at depth 2 "):
        UpperLayers(pretrained, 2)


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "electra", "modernbert"])
def test_a_layout_is_read_off_known_types(checkpoint, model_type):
    same_layout(checkpoint(model_type))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", [name for name, row in FAMILIES.items() if not row.first])
def test_a_layout_is_read_off_every_known_type(checkpoint, monkeypatch, model_type):
    """And the check accepts it as if it had no row."""
    pretrained = Pretrained(checkpoint(model_type).folder)
    same_layout(pretrained)
    monkeypatch.setattr("legorec.lm.pretrained.FAMILIES", {})
    cut_check.check_cut(Pretrained(pretrained.folder), DEPTHS, LowerLayers, UpperLayers)


def same_layout(pretrained: Pretrained) -> None:
    model = pretrained.skeleton()
    draw_weights(model, pretrained.width)
    found, row = layout_of(model.eval()), pretrained.family
    there = {name for name, _ in model.named_modules()}

    def said(family: Family) -> dict[str, object]:
        paths = {name: set(getattr(family, name)) & there for name in ("after", "embeddings", "positions")}
        return paths | {
            name: getattr(family, name) for name in ("layers", "causal", "layer_outputs", "scale")
        }

    assert said(found) == said(row)


def test_drawn_weights_have_the_same_values_in_half_a_model(checkpoint):
    """And no more memory than the largest parameters."""
    pretrained = checkpoint("qwen3_next")
    whole_model, half = pretrained.skeleton(), pretrained.skeleton()
    half.layers[0] = torch.nn.Identity()
    half.embed_tokens = torch.nn.Identity()
    for model in (whole_model, half):
        draw_weights(model, pretrained.width)
    of_whole = dict(whole_model.named_parameters())
    for name, value in half.named_parameters():
        assert torch.equal(value, of_whole[name]) and value.std() > 0.01, name
    assert len({value.untyped_storage().data_ptr() for value in of_whole.values() if value.dim() > 1}) == 1
    assert EVERY
