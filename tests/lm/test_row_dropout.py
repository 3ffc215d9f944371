"""A language model drops by row: neither the rest of its batch nor computing it again changes anything."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.model_types import FAMILIES
from legorec.nn.drawing import belonging, drawing, entry
from tests.lm.types import WITHOUT_SDPA
from tests.support.tiny import packed_ids

IDS, LENGTHS = packed_ids([5, 0, 1, 7, 5, 2, 3, 7])
KEYS = torch.arange(8) * 3
NAMES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "hidden_dropout",
    "dropout",
)
DROPPING = dict.fromkeys((*NAMES, "resid_pdrop", "attn_pdrop", "embd_pdrop"), 0.3)
# Noise that a router adds in training is drawn by batch, and is no dropout.
DROPPING |= {"router_jitter_noise": 0.0, "input_jitter_noise": 0.0}
WITHOUT_DROPOUT = ("ernie4_5", "ernie4_5_moe", "lfm2")
QUICK = ("bert", "llama", "opt", "gpt2")
TYPES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAMILIES]


def run(upper: UpperLayers, values: Tensor, rows: Tensor, step: int = 3) -> Tensor:
    """What comes of some rows (R,) in training, whatever torch's own generator says."""
    starts = LENGTHS.cumsum(0) - LENGTHS
    places = torch.cat([torch.arange(int(LENGTHS[row])) + starts[row] for row in rows])
    with drawing(7, step), belonging(entry("items"), KEYS[rows]):
        return upper(values[places], LENGTHS[rows])


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("name", TYPES)
def test_rows_drop_alike_in_any_batch(checkpoint, name, attention):
    if attention == "sdpa" and name in WITHOUT_SDPA:
        pytest.skip("has no such attention")
    pretrained = checkpoint(name, **DROPPING)
    values = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1]
    upper = UpperLayers(pretrained, 1, attention=attention).train()
    whole = run(upper, values, torch.arange(8))
    of_row = [whole[start:stop] for start, stop in pairwise([0, *LENGTHS.cumsum(0).tolist()])]
    for rows in ([7, 2, 5], [0], [6, 1, 4, 3]):
        found = run(upper, values, torch.tensor(rows))
        torch.testing.assert_close(found, torch.cat([of_row[row] for row in rows]), rtol=1e-4, atol=1e-5)
    drops = whole - upper.eval()(values, LENGTHS)
    later = run(upper.train(), values, torch.arange(8), step=4)
    if name in WITHOUT_DROPOUT:
        assert not drops.any() and torch.equal(later, whole)
    else:
        assert drops.abs().max() > 0.01 and not torch.equal(later, whole)


@pytest.mark.parametrize("name", TYPES)
def test_layers_that_are_computed_again_drop_the_same(checkpoint, name):
    pretrained, gradients = checkpoint(name, **DROPPING), []
    if not pretrained.skeleton().supports_gradient_checkpointing:
        pytest.skip("cannot be computed again")
    values = LowerLayers(pretrained, [1])(IDS, LENGTHS)[1]
    for again in (False, True):
        torch.manual_seed(0)
        upper = UpperLayers(pretrained, 1, gradient_checkpointing=again).train()
        leaf = values.clone().requires_grad_()
        run(upper, leaf, torch.arange(8)).square().sum().backward()
        gradients.append([leaf.grad, *(each.grad for each in upper.parameters() if each.grad is not None)])
    assert len(gradients[0]) == len(gradients[1]) > 4
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))
