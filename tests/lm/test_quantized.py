"""Frozen weights in 8 or 4 bits: less memory, nearly the same scores, and adapters on them learn."""

import importlib.util

import pytest
import torch
from torch import nn

from legorec.lm import quantized
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.quantized import frozen_bytes
from tests.lm.test_answering import tokens_of
from tests.support.tiny import random_model

LORA = LoRA(r=2, alpha=4.0, dropout=0.0)
there = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Large enough that linear layers, not embeddings, are most of it."""
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", head=True, hidden_size=64, intermediate_size=192, head_dim=16).save_pretrained(
        folder
    )
    return Pretrained(folder)


def made(pretrained, bits=None, layer=0):
    torch.manual_seed(0)
    return CausalModel(pretrained, (11, 5), layer=layer, lora=LORA, bits=bits)


@there
@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(("bits", "smaller"), [(8, 3.0), (4, 4.5)])
def test_scores_are_those_of_the_rounded_weights_and_memory_is_less(llama, bits, smaller, layer):
    plain, rounded = made(llama, layer=layer).eval(), made(llama, bits, layer).eval()
    batch = tokens_of()
    as_given = plain(batch).detach()
    with torch.no_grad():
        for name, each in rounded.named_modules():
            if type(each).__name__ in ("Linear4bit", "Linear8bitLt"):
                read = each(torch.eye(each.in_features)) - (0 if each.bias is None else each.bias)
                plain.get_submodule(name).weight.copy_(read.T)
    scores = rounded(batch).detach()
    close = 0.05 if bits == 8 else 1e-3  # in 8 bits the inputs of a layer are rounded too
    assert (plain(batch) - scores).abs().max() < close * as_given.std()
    assert (as_given - scores).abs().max() > 0
    of = [frozen_bytes(each.upper.upper.layers) for each in (plain, rounded)]
    assert of[0] / of[1] > smaller


@there
@pytest.mark.parametrize("inputs", [32, 64, 96, 192])
def test_four_bits_read_back_what_was_rounded(inputs):
    """Blocks of 64 that reach over the end of a row are read back as other weights on some CPUs."""
    torch.manual_seed(0)
    layers = nn.ModuleDict({"one": nn.Linear(inputs, 24), "other": nn.Linear(64, 8)})
    plain, read = layers["one"].weight.detach().clone(), torch.eye(inputs)
    quantized.quantize(nn.Module(), layers, 4)
    found = (layers["one"](read) - layers["one"].bias).T.detach()
    assert (found - plain).abs().max() <= 0.16 * plain.abs().max()  # half the widest step of NF4


@there
@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_a_look_at_dev_changes_no_gradient(llama, bits):
    """On a CPU with bf16 instructions bitsandbytes packs 4 bits anew where nothing asks for a gradient."""
    model, batch = made(llama, bits), tokens_of(learned=(1, 5, 6, 8, 9, 21))
    weights = [value for value in model.parameters() if value.requires_grad]

    def gradients():
        loss = model.eval().negative_log_likelihood(batch).sum()
        return torch.autograd.grad(loss, weights)

    before = gradients()
    with torch.no_grad():
        seen = model.eval()(batch)
    torch.testing.assert_close(gradients(), before)
    assert torch.isfinite(seen).all() and any(each.abs().max() > 0 for each in before)


@there
@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_adapters_on_rounded_weights_learn_and_the_weights_stay(llama, bits, tmp_path):
    model, batch = made(llama, bits).train(), tokens_of(learned=(1, 5, 6, 8, 9, 21))
    learned = {name for name, value in model.named_parameters() if value.requires_grad}
    assert learned and all(".lora_" in name for name in learned)
    frozen = {name: value.clone() for name, value in model.named_parameters() if name not in learned}
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model.negative_log_likelihood(batch).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(value, dict(model.named_parameters())[name]) for name, value in frozen.items())
    scores = model.eval()(batch)
    model.save_adapter(tmp_path / "adapter")
    lora = LoRA(r=2, alpha=4.0, dropout=0.0, adapter=str(tmp_path / "adapter"))
    again = CausalModel(llama, (11, 5), lora=lora, bits=bits).eval()
    assert torch.equal(again(batch), scores)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.35), (4, 0.22)])
def test_sizes_are_known_without_weights_and_without_the_package(llama, bits, most, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with torch.device("meta"):
        plain, rounded = made(llama), made(llama, bits)
    sizes = [
        sum(each.nbytes for each in (*layers.parameters(), *layers.buffers()))
        for layers in (plain.upper.upper.layers, rounded.upper.upper.layers)
    ]
    assert sizes[1] < most * sizes[0]


def test_without_the_package_one_line_names_the_extra(llama, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"bitsandbytes: pip install 'legorec.bits.'"):
        made(llama, 8)


def test_layers_without_a_linear_one_are_refused(tmp_path):
    random_model("gpt2", head=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`bits` has nothing to round"):
        made(Pretrained(tmp_path), 8)
