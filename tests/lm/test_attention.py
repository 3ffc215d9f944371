"""Our attention for short rows against torch's, in every form that a language model asks for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from legorec.lm.attention import LONG_KEYS, LONG_QUERIES, implementation, plain_attention, short_row_attention
from legorec.lm.cut import LowerLayers, UpperLayers
from tests.support.tiny import difference, packed_ids

B, HEADS, L, D = 3, 4, 5, 8


def masks() -> dict[str, torch.Tensor | None]:
    causal = torch.ones(L, L, dtype=torch.bool).tril()
    padding = (torch.arange(L) < torch.tensor([5, 2, 4]).unsqueeze(1))[:, None, None, :].expand(-1, 1, L, -1)
    return {"none": None, "causal": causal[None, None], "padded": padding, "both": padding & causal}


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_it_is_scaled_dot_product_attention(mask, shared, scaling):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(B, heads, L, D, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (HEADS, HEADS // shared, HEADS // shared)
    )
    seen = masks()[mask]
    out, weights = short_row_attention(nn.Identity(), query, key, value, seen, scaling=scaling)
    wanted = F.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=scaling, enable_gqa=shared > 1
    ).transpose(1, 2)
    assert weights is None and out.is_contiguous()
    torch.testing.assert_close(out, wanted)
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    inputs = (query, key, value)
    for mine, theirs in zip(
        torch.autograd.grad((out * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("mask", masks())
def test_soft_caps_and_sinks(mask, shared):
    """Gemma 2 bends the logits; in GPT-OSS each head has one more place, which holds nothing."""
    generator = torch.Generator().manual_seed(1)
    query, key, value = (
        torch.randn(B, heads, L, D, generator=generator, dtype=torch.float64)
        for heads in (HEADS, HEADS // shared, HEADS // shared)
    )
    sinks, seen = torch.randn(HEADS, generator=generator, dtype=torch.float64), masks()[mask]
    out, _ = short_row_attention(
        nn.Identity(), query, key, value, seen, scaling=0.7, softcap=1.5, s_aux=sinks
    )
    for head in range(HEADS):
        keys, values = key[:, head // shared], value[:, head // shared]
        weights = (1.5 * torch.tanh(0.7 * query[:, head] @ keys.transpose(1, 2) / 1.5)).exp()
        weights = weights if seen is None else weights * seen[:, 0]
        wanted = weights @ values / (weights.sum(-1, keepdim=True) + sinks[head].exp())
        torch.testing.assert_close(out[:, :, head], wanted)


def test_a_token_that_sees_nothing_has_a_finite_gradient():
    query = torch.randn(1, 1, 3, 2, requires_grad=True)
    seen = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])[None, None]
    out, _ = short_row_attention(nn.Identity(), query, query, query, seen)
    out[:, :2].sum().backward()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("before", [0, 7])
@pytest.mark.parametrize("sides", ["left", "right", "none"])
def test_rows_of_any_length_give_the_same(sides, before, shared):
    """On both sides of the length from which the CPU's kernel is taken, with tokens that see nothing."""
    generator = torch.Generator().manual_seed(2)
    for length in (LONG_QUERIES - 1, LONG_KEYS - 1, LONG_KEYS, LONG_KEYS + 9):
        query, key, value = (
            torch.randn(2, heads, tokens, 8, generator=generator).requires_grad_()
            for heads, tokens in (
                (HEADS, length), (HEADS // shared, length + before), (HEADS // shared, length + before)
            )
        )  # fmt: skip
        places = torch.arange(length + before)
        seen = (places <= torch.arange(before, length + before)[:, None])[None, None].repeat(2, 1, 1, 1)
        if sides != "none":
            seen[1] &= (places < 11) if sides == "right" else (places >= before + 11)
        out, _ = short_row_attention(nn.Identity(), query, key, value, seen, scaling=0.4)
        wide = [each.detach().double().requires_grad_() for each in (query, key, value)]
        wanted = plain_attention(*wide, seen, scale=0.4).transpose(1, 2)
        is_read = seen.any(-1)[:, 0]
        torch.testing.assert_close(out[is_read], wanted[is_read].float(), rtol=1e-5, atol=1e-5)
        weight = torch.randn(out.shape, generator=generator) * is_read[:, :, None, None]
        mine = torch.autograd.grad((out * weight).sum(), (query, key, value))
        theirs = torch.autograd.grad((wanted * weight.double()).sum(), wide)
        for found, expected in zip(mine, theirs, strict=True):
            torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_values_may_be_wider_than_queries():
    query, value = torch.randn(2, 4, 5, 6), torch.randn(2, 2, 5, 3)
    out, _ = short_row_attention(nn.Identity(), query, query[:, :2], value, None)
    wanted = F.scaled_dot_product_attention(query, query[:, :2], value, enable_gqa=True)
    torch.testing.assert_close(out, wanted.transpose(1, 2))


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    query = torch.zeros(400, 1, 4, 2)
    value = torch.ones(400, 1, 4, 2)
    out, _ = short_row_attention(nn.Identity(), query, query, value, None, dropout=0.5)
    assert out.unique().numel() > 1 and abs(out.mean() - 1) < 0.05


def test_names():
    assert implementation("sdpa") == "sdpa" and implementation("auto") == implementation("auto") != "auto"


@pytest.mark.parametrize("model_type", ["llama", "bert", "gpt2"])
def test_every_implementation_gives_the_same(checkpoint, model_type):
    pretrained = checkpoint(model_type)
    ids, lengths = packed_ids([5, 3, 0, 5, 1])
    states = LowerLayers(pretrained, [1])(ids, lengths)[1]
    found = {
        name: UpperLayers(pretrained, 1, attention=name).eval()(states, lengths)
        for name in ("auto", "sdpa", "eager")
    }
    assert difference(found["auto"], found["sdpa"]) < 1e-6
    assert difference(found["auto"], found["eager"]) < 1e-6


def test_rows_beyond_a_window(checkpoint):
    """A model that met one goes on as before: which attention it has does not depend on what it has seen."""
    pretrained = checkpoint("mistral", sliding_window=4)
    ids, lengths = packed_ids([3, 9, 4, 9])
    states = LowerLayers(pretrained, [1])(ids, lengths)[1]
    auto, plain = (UpperLayers(pretrained, 1, attention=name).eval() for name in ("auto", "sdpa"))
    assert difference(auto(states, lengths), plain(states, lengths)) < 1e-6
    assert auto.model.config._attn_implementation == implementation("auto")
    short = packed_ids([3, 4])
    states = LowerLayers(pretrained, [1])(*short)[1]
    assert difference(auto(states, short[1]), plain(states, short[1])) < 1e-6
