"""Frozen weights in 8 or 4 bits: less memory, nearly the same scores, and adapters on them learn."""

import importlib.util

import pytest
import torch

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
    random_model("llama", head=True, hidden_size=64, intermediate_size=192).save_pretrained(folder)
    return Pretrained(folder)


def made(pretrained, bits=None, layer=0):
    torch.manual_seed(0)
    return CausalModel(pretrained, (11, 5), layer=layer, lora=LORA, bits=bits)


@there
@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(("bits", "smaller", "close"), [(8, 3.0, 0.05), (4, 4.5, 0.35)])
def test_scores_are_near_and_memory_is_less(llama, bits, smaller, close, layer):
    plain, rounded = made(llama, layer=layer).eval(), made(llama, bits, layer).eval()
    batch = tokens_of()
    apart = (plain(batch) - rounded(batch)).detach()
    spread = plain(batch).detach().std()
    assert 0 < apart.abs().max() < close * spread
    of = [frozen_bytes(each.upper.upper.layers) for each in (plain, rounded)]
    assert of[0] / of[1] > smaller


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
