"""15 % of the tokens are masked and never a special one: 80 % by the mask, 10 % by another token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from legorec.aligning.items import ItemBatch
from legorec.aligning.masking import Masking
from tests.support.texts import batch_of, tokenizer

CLS, SEP, MASK = 2, 3, 4


def long_batch() -> ItemBatch:
    """Texts between the special tokens."""
    batch = batch_of([200] * 100)
    tokens = batch.tokens.view(100, 200).clone()
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    return replace(batch, tokens=tokens.flatten())


def test_shares_are_those_of_bert() -> None:
    batch = long_batch()
    made = Masking(tokenizer(), 0.15, seed=1)(batch, 0)
    places, before, after = made.places, batch.tokens, made.masked
    assert not ((before[places] == CLS) | (before[places] == SEP)).any()
    assert abs(len(places) / (100 * 198) - 0.15) < 0.01
    untouched = torch.ones(len(before), dtype=torch.bool)
    untouched[places] = False
    assert torch.equal(before[untouched], after[untouched])
    is_mask = after[places] == MASK
    same = after[places] == before[places]
    assert abs(is_mask.float().mean() - 0.8) < 0.02
    assert abs(same.float().mean() - 0.1) < 0.02
    others = after[places][~is_mask & ~same]
    assert abs(len(others) / len(places) - 0.1) < 0.02
    assert not any(((others == special).any()) for special in (CLS, SEP, MASK))


def test_what_is_drawn_is_a_function_of_item_and_pass() -> None:
    batch, masking = batch_of([40, 30, 20]), Masking(tokenizer(), 0.3, seed=1)
    whole = masking(batch, 2).masked.split([40, 30, 20])
    alone = ItemBatch(torch.tensor([1]), batch.tokens[40:70], torch.tensor([30]))
    assert torch.equal(masking(alone, 2).masked, whole[1])
    assert not torch.equal(masking(alone, 3).masked, whole[1])
    assert not torch.equal(Masking(tokenizer(), 0.3, seed=2)(alone, 2).masked, whole[1])


def test_a_text_of_special_tokens_alone_has_nothing_to_tell() -> None:
    batch = ItemBatch(torch.tensor([0]), torch.tensor([CLS, SEP]), torch.tensor([2]))
    assert not len(Masking(tokenizer(), 0.9, seed=1)(batch, 0).places)


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="the tokenizer has no mask token"):
        Masking(tokenizer(("[CLS]", "[SEP]")), 0.15, seed=1)


def test_random_tokens_are_ordinary_ones() -> None:
    assert np.array_equal(Masking(tokenizer(), 0.15, 1).ordinary[:3], [0, 1, 5])
