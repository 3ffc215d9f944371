"""A causal model on packed prompts: its likelihoods and scores are those of transformers, row by row."""

import numpy as np
import pytest
import torch

from legorec.batch import TokenBatch
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.untrained import Untrained
from legorec.nn.drawing import drawing
from tests.support.tiny import random_model

LENGTHS = (7, 3, 12, 3, 1)
OFF = LoRA(enabled=False)
# Heads that are tied, that are not, that scale and that are capped.
KINDS = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "gemma2": {"final_logit_softcapping": 3.0},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
    "gpt2": {},
    "opt": {},
}


def tokens_of(lengths=LENGTHS, vocab=97, seed=0, learned=()):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, vocab, (sum(lengths),), generator=generator)
    count = len(lengths)
    return TokenBatch(
        tokens, torch.tensor(lengths), torch.tensor(learned, dtype=torch.int64), {},
        torch.arange(count), torch.zeros(count),
    )  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """A checkpoint with a head, and the model that transformers makes of it."""
    model = random_model(request.param, head=True, **KINDS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return Pretrained(folder), model


def logits_of(model, batch):
    """(T, V) row by row, without padding."""
    with torch.inference_mode():
        rows = batch.tokens.split(batch.lengths.tolist())
        return torch.cat([model(row[None]).logits[0] for row in rows])


def test_scores_are_the_log_odds_of_the_two_answers(both):
    pretrained, model = both
    batch = tokens_of()
    probabilities = logits_of(model, batch)[batch.ends].softmax(-1)
    yes, no = probabilities[:, 11], probabilities[:, 5]
    scores = CausalModel(pretrained, (11, 5), lora=OFF).eval()(batch)
    assert torch.allclose(scores.sigmoid(), yes / (yes + no), atol=1e-5)


def test_the_likelihood_is_that_of_the_whole_model(both):
    pretrained, model = both
    batch = tokens_of(learned=(1, 5, 6, 8, 9, 21))
    expected = -logits_of(model, batch)[batch.learned - 1].log_softmax(-1)
    expected = expected.gather(1, batch.tokens[batch.learned][:, None])[:, 0]
    found = CausalModel(pretrained, (11, 5), lora=OFF).eval().negative_log_likelihood(batch)
    assert torch.allclose(found, expected, atol=2e-5)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", head=True).save_pretrained(folder)
    return Pretrained(folder)


def test_two_rows_of_the_head_give_what_all_do(llama):
    model, batch = CausalModel(llama, (11, 5), lora=OFF).eval(), tokens_of()
    whole = model.logits(model.states(batch)[batch.ends])
    assert torch.allclose(model(batch), whole[:, 11] - whole[:, 5], atol=1e-6)


def test_a_constant_added_to_all_logits_changes_nothing(llama, monkeypatch):
    model, batch, logits = CausalModel(llama, (11, 5), lora=OFF).eval(), tokens_of(), CausalModel.logits
    before = model(batch)
    monkeypatch.setattr(CausalModel, "logits", lambda *given: logits(*given) + 3.5)
    assert torch.allclose(model(batch), before, atol=1e-5)


def test_softmax_twice_is_another_ranking():
    """TALLRec's script takes a softmax of two probabilities: it ranks by their difference."""
    probabilities = np.array([[0.30, 0.10], [0.02, 0.001], [0.4, 0.25]])
    ratio = probabilities[:, 0] / probabilities.sum(1)
    twice = 1 / (1 + np.exp(probabilities[:, 1] - probabilities[:, 0]))
    assert ratio.argsort().tolist() != twice.argsort().tolist()


@pytest.mark.parametrize("order", [[4, 2, 0, 1, 3], [2], [1, 3]])
def test_a_row_does_not_depend_on_the_others(llama, order):
    model, batch = CausalModel(llama, (11, 5), lora=OFF).eval(), tokens_of()
    rows = batch.tokens.split(list(LENGTHS))
    part = tokens_of([LENGTHS[row] for row in order])
    part = TokenBatch(
        torch.cat([rows[row] for row in order]), part.lengths, part.learned, {}, part.group, part.label
    )
    assert torch.allclose(model(part), model(batch)[order], atol=1e-5)


def test_untrained_adapters_change_nothing_and_only_they_learn(llama):
    batch = tokens_of(learned=(1, 5, 6))
    plain = CausalModel(llama, (11, 5), lora=OFF).eval()
    tuned = CausalModel(llama, (11, 5), lora=LoRA(r=2, alpha=4.0, dropout=0.0))
    assert torch.equal(tuned.eval()(batch), plain(batch))
    tuned.train().negative_log_likelihood(batch).sum().backward()
    learns = {name for name, value in tuned.named_parameters() if value.grad is not None}
    assert learns and all(".lora_" in name for name in learns)
    assert {name for name, value in tuned.named_parameters() if value.requires_grad} == learns


def test_layers_below_are_frozen_and_the_whole_stays(llama):
    batch = tokens_of(learned=(1, 5, 6))
    whole, cut = (CausalModel(llama, (11, 5), layer=layer, lora=OFF).eval() for layer in (0, 2))
    assert torch.allclose(whole(batch), cut(batch), atol=1e-5)
    sizes = [sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (whole, cut)]
    assert sizes[1] < sizes[0]


def test_trainable_parameters_of_7b_are_counted_from_the_config(tmp_path):
    """r (d_in + d_out) over q and v of 32 layers of width 4,096, at r 8."""
    from transformers import LlamaConfig

    LlamaConfig(
        vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32
    ).save_pretrained(tmp_path)
    with torch.device("meta"):
        model = CausalModel(Pretrained(tmp_path), (11, 5), lora=LoRA(r=8, alpha=16.0, dropout=0.05))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 4_194_304


def test_a_model_from_scratch_is_drawn_from_the_seed_and_learns_all_of_it():
    def made():
        torch.manual_seed(3)
        return CausalModel(Untrained(50, 16, 2, 2), (11, 5), lora=OFF)

    one, two = made(), made()
    batch = tokens_of(vocab=50, learned=(1, 5, 6))
    assert torch.equal(one(batch), two(batch))
    one.train().negative_log_likelihood(batch).sum().backward()
    assert all(value.requires_grad and value.grad is not None for value in one.parameters())


def test_dropout_belongs_to_the_row(llama):
    """Rows of one step draw the same masks, however the step is cut into batches."""
    model = CausalModel(llama, (11, 5), lora=LoRA(r=2, alpha=4.0, dropout=0.5)).train()
    for name, value in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(value)
    batch = tokens_of()
    with drawing(1, 0, 0):
        whole = model(batch)
    rows = batch.tokens.split(list(LENGTHS))
    for first in (0, 2):
        some = range(first, first + 2)
        part = tokens_of([LENGTHS[row] for row in some])
        tokens = torch.cat([rows[row] for row in some])
        part = TokenBatch(tokens, part.lengths, part.learned, {}, part.group, part.label)
        with drawing(1, 0, first):
            assert torch.allclose(model(part), whole[first : first + 2], atol=1e-5)


def test_a_model_that_reads_in_both_directions_is_refused(tmp_path):
    random_model("bert").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="prompts need a causal model"):
        CausalModel(Pretrained(tmp_path), (11, 5), lora=OFF)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((50, 16, 2, 3), "`heads` must divide `hidden_size` .16."),
        ((50, 16, 0, 2), "`num_layers` must be at least 1"),
    ],
)
def test_sizes_that_no_model_has(sizes, message):
    with pytest.raises(ValueError, match=message):
        Untrained(*sizes)
