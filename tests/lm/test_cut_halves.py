"""The two halves of a language model as modules: saved in any way, in training, empty, in low precision."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from legorec.lm import length_groups
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.pretrained import Pretrained
from legorec.nn.dropout import Dropout
from tests.support.tiny import difference, packed_ids, states_of, whole

IDS, LENGTHS = packed_ids([5, 0, 1, 9, 5, 3, 9, 2])
TYPES = ["llama", "bert", "gpt2", "opt", "roberta", "distilbert", "electra", "gpt_neox"]


@pytest.fixture(autouse=True)
def padded(monkeypatch):
    monkeypatch.setitem(length_groups.OVERHEAD, "cpu", 1 << 40)


def halves(pretrained, depth=1, **upper):
    return LowerLayers(pretrained, [depth]), UpperLayers(pretrained, depth, **upper).eval()


def final(pretrained):
    lower, upper = halves(pretrained)
    return upper(lower(IDS, LENGTHS)[1], LENGTHS)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
def test_with_a_head_without_and_in_parts_it_is_the_same(checkpoint, model_type):
    bare = checkpoint(model_type)
    expected = final(bare)
    for changes in ({"head": True}, {"sharded": True}, {"head": True, "sharded": True}):
        other = checkpoint(model_type, **changes)
        assert (len(other.weight_files) > 1) == ("sharded" in changes)
        names = {name for file in other.weight_files for name in load_file(file)}
        prefix = whole(bare).base_model_prefix + "."
        assert any(name.startswith(prefix) for name in names) == ("head" in changes)
        assert torch.equal(final(other), expected)
        assert torch.equal(other.token_table(), bare.token_table())


def test_the_names_of_the_first_berts(checkpoint, tmp_path):
    pretrained = checkpoint("bert", head=True)
    weights = load_file(pretrained.weight_files[0])
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    assert old.keys() != weights.keys()
    save_file(old, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((pretrained.folder / "config.json").read_bytes())
    assert torch.equal(final(Pretrained(tmp_path)), final(pretrained))


@pytest.mark.parametrize("model_type", ["llama", "bert", "gpt2", "opt"])
def test_gradient_checkpointing_gives_the_same_gradients(checkpoint, model_type):
    pretrained = checkpoint(model_type, **({"dropout": 0.0} if model_type == "opt" else {}))
    found = []
    for checkpointing in (False, True):
        lower, upper = halves(pretrained, gradient_checkpointing=checkpointing)
        states = lower(IDS, LENGTHS)[1].requires_grad_()
        for module in upper.modules():
            if isinstance(module, Dropout):
                module.rate = 0.0
        upper.train()(states, LENGTHS).square().sum().backward()
        found.append([states.grad, *(value.grad for value in upper.parameters())])
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


def test_gradient_checkpointing_keeps_less(checkpoint):
    """What autograd keeps for the backward pass, counted."""
    pretrained = checkpoint("llama")
    kept = []
    for checkpointing in (False, True):
        lower, upper = halves(pretrained, gradient_checkpointing=checkpointing)
        states, count = lower(IDS, LENGTHS)[1].requires_grad_(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda value, kept=count: kept.append(value) or value, id
        ):
            upper.train()(states, LENGTHS)
        kept.append(len(count))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("bert", {}), ("gpt2", {}), ("opt", {}), ("llama", {"attention_dropout": 0.5})],
)
def test_dropout_follows_the_mode_above_and_is_never_on_below(checkpoint, model_type, changes):
    pretrained = checkpoint(model_type, **changes)
    whole_model = nn.ModuleList(halves(pretrained))
    lower, upper = whole_model
    states = lower(IDS, LENGTHS)[1]
    expected = upper(states, LENGTHS)
    assert torch.equal(upper(states, LENGTHS), expected)
    whole_model.train()
    assert torch.equal(lower(IDS, LENGTHS)[1], states)
    torch.manual_seed(0)
    dropped = upper(states, LENGTHS)
    assert not torch.equal(dropped, expected) and not torch.equal(upper(states, LENGTHS), dropped)
    torch.manual_seed(0)
    assert torch.equal(upper(states, LENGTHS), dropped)
    whole_model.eval()
    assert torch.equal(upper(states, LENGTHS), expected)


def test_lower_layers_learn_nothing(checkpoint):
    states = LowerLayers(checkpoint("llama"), [0, 2])(IDS, LENGTHS)
    assert not any(value.requires_grad or value.grad_fn for value in states.values())


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("model_type", TYPES)
def test_low_precision(checkpoint, model_type, dtype):
    pretrained = checkpoint(model_type)
    wanted = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    lower, upper = LowerLayers(pretrained, [1], dtype), UpperLayers(pretrained, 1, dtype).eval()
    assert {value.dtype for half in (lower, upper) for value in half.parameters()} == {wanted}
    states = lower(IDS, LENGTHS)[1]
    out = upper(states, LENGTHS)
    assert states.dtype == out.dtype == wanted
    assert difference(out.float(), states_of(whole(pretrained), IDS, LENGTHS)) < 0.1


@pytest.mark.parametrize("model_type", ["llama", "bert", "opt"])
@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_nothing_to_do(checkpoint, model_type, lengths):
    pretrained = checkpoint(model_type)
    lower, upper = LowerLayers(pretrained, [0, 1], "bf16"), UpperLayers(pretrained, 1)
    ids, rows = packed_ids(lengths)
    states = lower(ids, rows.long())
    assert [(*value.shape, value.dtype) for value in states.values()] == [(0, 32, torch.bfloat16)] * 2
    assert upper(torch.zeros(0, 32), rows.long()).shape == (0, pretrained.output_width)


def test_widths(checkpoint):
    narrow = checkpoint("opt", word_embed_proj_dim=16, do_layer_norm_before=False)
    assert (narrow.width, narrow.token_width, narrow.output_width) == (32, 16, 16)
    assert UpperLayers(narrow, 1).output_dim == 16 and LowerLayers(narrow, [1]).width == 32
    electra = checkpoint("electra")
    assert (electra.width, electra.token_width, electra.output_width) == (32, 24, 32)


def test_order_of_the_rows_changes_nothing(checkpoint):
    pretrained = checkpoint("qwen3")
    lower, upper = halves(pretrained)
    rows = list(IDS.split(LENGTHS.tolist()))
    forward = upper(lower(IDS, LENGTHS)[1], LENGTHS).split(LENGTHS.tolist())
    ids, lengths = torch.cat(rows[::-1]), LENGTHS.flip(0)
    backward = upper(lower(ids, lengths)[1], lengths).split(lengths.tolist())[::-1]
    assert all(difference(one, other.detach()) < 1e-6 for one, other in zip(forward, backward, strict=True))
