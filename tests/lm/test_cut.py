"""The layers below a depth followed by those above it are the whole model (R18), for every known family."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from legorec.lm import length_groups
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.model_types import FAMILIES, part
from legorec.lm.pretrained import Pretrained, PretrainedError
from tests.lm.types import EVERY, LATER, QUICK, UNEVEN, WITHOUT_SDPA
from tests.support.tiny import SIZES, difference, packed_ids, states_of, whole

IDS, LENGTHS = packed_ids([5, 0, 1, 9, 5, 3, 9, 2])
NUM_LAYERS = SIZES["num_hidden_layers"]
DEPTHS = range(NUM_LAYERS + 1)


@pytest.fixture
def grouping(monkeypatch):
    """Says how rows come to be run together."""

    def choose(padded):
        monkeypatch.setitem(length_groups.OVERHEAD, "cpu", 1 << 40 if padded else 0)

    return choose


@pytest.fixture
def padded(grouping):
    """All rows in one batch."""
    grouping(padded=True)


def halves_are_the_whole(pretrained, grouping, attention="auto"):
    expected = states_of(whole(pretrained), IDS, LENGTHS)
    lower = LowerLayers(pretrained, DEPTHS, attention=attention)
    alone = [LowerLayers(pretrained, [depth], attention=attention) for depth in DEPTHS]
    upper = [UpperLayers(pretrained, depth, attention=attention).eval() for depth in DEPTHS]
    for padded in (False, True):
        grouping(padded)
        states = lower(IDS, LENGTHS)
        assert list(states) == list(DEPTHS)
        for depth in DEPTHS:
            found = upper[depth](states[depth], LENGTHS)
            assert difference(found, expected) < 1e-6, f"depth {depth}, padded {padded}"
            assert torch.equal(alone[depth](IDS, LENGTHS)[depth], states[depth]), f"depth {depth} alone"


def without(pretrained, folder, gone):
    """The checkpoint without the weights whose names begin so, and how many numbers are left."""
    folder.mkdir()
    weights = whole(pretrained).state_dict()  # by the model's names, whatever those in the file
    kept = {name: value for name, value in weights.items() if not name.startswith(tuple(gone))}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors")
    (folder / "config.json").write_bytes((pretrained.folder / "config.json").read_bytes())
    return Pretrained(folder), sum(value.numel() for name, value in kept.items() if "pooler" not in name)


def layer_names(family, start, stop):
    return [f"{family.layers}.{place}." for place in range(start, stop)]


@pytest.mark.parametrize("model_type", EVERY)
def test_r18_halves_are_the_whole(checkpoint, grouping, model_type):
    halves_are_the_whole(checkpoint(model_type), grouping)


@pytest.mark.parametrize("name", UNEVEN)
def test_r18_where_layers_differ(checkpoint, grouping, name):
    model_type, changes = UNEVEN[name]
    halves_are_the_whole(checkpoint(model_type, **changes), grouping)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize("name", [*UNEVEN, *LATER])
def test_r18_where_layers_differ_in_any_way(checkpoint, grouping, name, attention):
    model_type, changes = {**UNEVEN, **LATER}[name]
    halves_are_the_whole(checkpoint(model_type, **changes), grouping, attention)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_r18_with_every_attention_that_the_type_has(checkpoint, grouping, model_type, attention):
    pretrained = checkpoint(model_type)
    try:
        pretrained.skeleton(attention if attention != "auto" else None)
    except ValueError as error:
        assert attention == "sdpa" and "cannot use `attention: sdpa`" in str(error)
        assert model_type in WITHOUT_SDPA
        return
    halves_are_the_whole(pretrained, grouping, attention)


def test_there_are_families():
    assert len(FAMILIES) > 60
    assert set(QUICK) <= set(FAMILIES) and WITHOUT_SDPA <= set(FAMILIES)


@pytest.mark.parametrize("model_type", ["llama", "bert"])
def test_once_bug_1_no_layer_is_lost(checkpoint, model_type):
    """Legommenders kept the input of layer k and went on at layer k + 1."""
    pretrained = checkpoint(model_type)
    expected = states_of(whole(pretrained), IDS, LENGTHS)
    states = LowerLayers(pretrained, DEPTHS)(IDS, LENGTHS)
    for depth in range(NUM_LAYERS):
        assert difference(UpperLayers(pretrained, depth).eval()(states[depth], LENGTHS), expected) < 1e-6
        lost = UpperLayers(pretrained, depth + 1).eval()(states[depth], LENGTHS)
        assert difference(lost, expected) > 0.01


def test_once_bug_2_berts_upper_layers_are_run(checkpoint):
    """Legommenders 1 handed the cached input out again; Legommenders 2 left layer 0 out by default."""
    pretrained = checkpoint("bert")
    states = LowerLayers(pretrained, DEPTHS)(IDS, LENGTHS)
    for depth in range(NUM_LAYERS):
        upper = UpperLayers(pretrained, depth).eval()
        found = upper(states[depth], LENGTHS)
        assert difference(found, states[depth]) > 0.01
        assert difference(found, states[NUM_LAYERS]) < 1e-6
        found.square().sum().backward()
        tuned = {name.split("layer.")[1][0] for name, value in upper.named_parameters() if value.grad.any()}
        assert tuned == {str(place) for place in range(depth, NUM_LAYERS)}


@pytest.mark.parametrize("model_type", EVERY)
def test_the_deepest_states_are_taken_before_the_final_norm(checkpoint, model_type):
    pretrained = checkpoint(model_type)
    model = whole(pretrained)
    states = LowerLayers(pretrained, [NUM_LAYERS])(IDS, LENGTHS)[NUM_LAYERS]
    expected = states_of(model, IDS, LENGTHS)
    if not pretrained.family.after:
        assert difference(states, expected) < 1e-6
        return
    assert difference(states, expected) > 0.01
    with torch.no_grad():
        for path in pretrained.family.after:
            module = part(model, path)
            states = module(states) if module is not None else states
    assert difference(states, expected) < 1e-6


@pytest.mark.parametrize("model_type", EVERY)
def test_neither_half_has_or_reads_what_the_other_needs(checkpoint, tmp_path, model_type):
    pretrained, depth = checkpoint(model_type), 2
    family = pretrained.family
    expected = states_of(whole(pretrained), IDS, LENGTHS)
    table = [*family.embeddings, *family.positions, *family.before, "embeddings_project"]
    table += [*family.first, "embed_tokens", "decoder.embed_tokens", "embed_in", "wte"]
    above, count_above = without(
        pretrained, tmp_path / "above", [*layer_names(family, 0, depth), *(f"{name}." for name in table)]
    )
    below, count_below = without(
        pretrained,
        tmp_path / "below",
        [*layer_names(family, depth, NUM_LAYERS), *(f"{name}." for name in family.after)],
    )
    upper, lower = UpperLayers(above, depth).eval(), LowerLayers(below, [0, depth])
    assert difference(upper(lower(IDS, LENGTHS)[depth], LENGTHS), expected) < 1e-6
    assert sum(value.numel() for value in upper.state_dict().values()) == count_above
    assert sum(value.numel() for value in lower.state_dict().values()) == count_below
    with pytest.raises(
        PretrainedError, match=rf"does not hold '{family.layers}.1\..*the checkpoint is incomplete"
    ):
        UpperLayers(above, depth - 1)


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("model_type", EVERY)
def test_r18_gradients_reach_the_upper_layers_and_their_input(checkpoint, model_type):
    pretrained = checkpoint(model_type)
    lower, upper = LowerLayers(pretrained, [1]), UpperLayers(pretrained, 1).eval()
    states = lower(IDS, LENGTHS)[1].requires_grad_()
    upper(states, LENGTHS).square().sum().backward()
    for name, value in upper.named_parameters():
        if name.endswith(("e_score_correction_bias", "router.weight")) and "moe" in model_type:
            continue  # which experts are taken has no gradient
        assert value.grad is not None and value.grad.isfinite().all(), name
        # A key's bias moves all of a query's scores alike.
        assert value.grad.any() or name.endswith("bias"), name
    assert states.grad.isfinite().all() and states.grad.any(1).all()
    assert not any(value.requires_grad for value in lower.parameters())


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("model_type", EVERY)
def test_who_sees_whom(checkpoint, model_type):
    """No row sees another, and a token those behind it only where the family is said not to be causal."""
    pretrained = checkpoint(model_type)
    states = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1].requires_grad_()
    out = UpperLayers(pretrained, 1).eval()(states, LENGTHS)
    start, stop = 6, 15  # the row of nine
    out[start].square().sum().backward()
    seen = states.grad.any(1).nonzero().flatten().tolist()
    assert seen == ([start] if pretrained.family.causal else list(range(start, stop)))


@pytest.mark.parametrize("model_type", ["llama", "bert", "gpt2", "opt", "roberta", "qwen2"])
def test_r18_with_eager_attention(checkpoint, grouping, model_type):
    halves_are_the_whole(checkpoint(model_type), grouping, "eager")


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("names", [("sdpa", "eager"), ("eager", "sdpa")])
def test_two_ways_of_attention_from_one_checkpoint(checkpoint, names):
    """The one built later does not change the one built before."""
    pretrained = Pretrained(checkpoint("llama").folder)
    expected = states_of(whole(pretrained), IDS, LENGTHS)
    states = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1]
    uppers = [UpperLayers(pretrained, 1, attention=name).eval() for name in names]
    for name, upper in zip(names, uppers, strict=True):
        assert upper.model.config._attn_implementation == name
        assert difference(upper(states, LENGTHS), expected) < 1e-6


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("model_type", ["mistral", "qwen2"])
def test_gradients_are_finite_where_a_window_leaves_padding_without_sight(checkpoint, model_type):
    changes = {"sliding_window": 2} | ({"use_sliding_window": True} if model_type == "qwen2" else {})
    pretrained = checkpoint(model_type, **changes)
    for attention in ("sdpa", "eager"):
        upper = UpperLayers(pretrained, 1, attention=attention)
        states = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1].requires_grad_()
        upper(states, LENGTHS).square().sum().backward()
        assert states.grad.isfinite().all() and states.grad.any(1).all()
        assert all(value.grad.isfinite().all() for value in upper.parameters())


@pytest.mark.parametrize("model_type", ["gpt2", "opt"])
def test_learned_positions_are_not_added_twice(checkpoint, model_type):
    """The states at depth 0 hold them; the plain model given these adds them once more."""
    pretrained = checkpoint(model_type)
    model = whole(pretrained)
    expected = states_of(model, IDS, LENGTHS)
    states = LowerLayers(pretrained, [0])(IDS, LENGTHS)[0]
    assert difference(UpperLayers(pretrained, 0).eval()(states, LENGTHS), expected) < 1e-6
    with torch.no_grad():
        twice = model(inputs_embeds=states[None, :5]).last_hidden_state[0]
    assert difference(twice, expected[:5]) > 0.01


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    "model_type",
    [name for name, each in FAMILIES.items() if each.positions_behind_padding or each.first_position],
)
def test_positions_begin_behind_the_padding_token(checkpoint, model_type, padding):
    pretrained = checkpoint(model_type, pad_token_id=padding)
    ids = IDS.clamp(min=5)  # a padding token within a row would not be counted
    expected = states_of(whole(pretrained), ids, LENGTHS)
    states = LowerLayers(pretrained, [0])(ids, LENGTHS)[0]
    assert difference(UpperLayers(pretrained, 0).eval()(states, LENGTHS), expected) < 1e-6
