"""Tuning causal models of many families on packed prompts: what a row teaches is its own."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from legorec.batch import TokenBatch
from legorec.engine.fit import FitOptions, Progress, fit
from legorec.lm.answering import CausalModel
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.prompts.learning import TokenObjective
from tests.support.shared_program import Descent
from tests.support.spread_program import batch_of
from tests.support.tiny import random_model

LORA = LoRA(r=2, alpha=4.0, dropout=0.0)
# Pythia's type is gpt_neox; falcon, bloom and gpt_neo have no row, so their layout is found by a pass.
FAMILIES = ("llama", "qwen2", "gemma", "gpt_neox", "gpt2", "falcon")
LATER = ("gemma2", "gemma3_text", "qwen3", "mistral", "phi3", "opt", "bloom", "gpt_neo")
SMALL = {"vocab_size": 97, "hidden_size": 32}
UNNAMED = {
    "falcon": {"num_hidden_layers": 3, "num_attention_heads": 4},
    "bloom": {"n_layer": 3, "n_head": 4},
    "gpt_neo": {"num_layers": 3, "num_heads": 4, "attention_types": [[["global", "local", "global"], 1]]},
}
# None of them is padded with a token.
WITHOUT = {"pad_token_id": None}


@pytest.fixture(
    scope="module", params=[*FAMILIES, *(pytest.param(each, marks=pytest.mark.slow) for each in LATER)]
)
def any_family(request, tmp_path_factory):
    model = random_causal(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return Pretrained(folder)


def random_causal(model_type):
    if model_type not in UNNAMED:
        return random_model(model_type, head=True, **WITHOUT)
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SMALL, **UNNAMED[model_type], **WITHOUT)
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", head=True, **WITHOUT).save_pretrained(folder)
    return Pretrained(folder)


def ragged(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 97, (length,), generator=generator) for length in lengths]


def tuned(pretrained, **settings):
    torch.manual_seed(1)
    return CausalModel(pretrained, (11, 5), lora=LORA, **settings)


def step(model, batch, lr=0.5):
    """One of gradient descent."""
    learned = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=lr)
    loss = model.train().negative_log_likelihood(batch).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_family_is_tuned_whole_by_adapters_that_begin_as_nothing(any_family, tmp_path):
    """At first the base bit for bit, afterwards its weights are what they were; so is a saved adapter."""
    batch = batch_of(ragged(9, 3, 12))
    model = tuned(any_family)
    plain = CausalModel(any_family, (11, 5), lora=LoRA(enabled=False)).eval()
    assert torch.equal(model.eval()(batch), plain(batch))
    base = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    losses = [step(model, batch) for _ in range(6)]
    assert losses[-1] < losses[0]
    now = dict(model.named_parameters())
    assert len(base) > 10 and all(torch.equal(value, now[name]) for name, value in base.items())
    learned = model.eval()(batch)
    assert not torch.equal(learned, plain(batch))
    model.save_adapter(tmp_path / "adapter")
    lora = LoRA(r=2, alpha=4.0, dropout=0.0, adapter=str(tmp_path / "adapter"))
    assert torch.equal(CausalModel(any_family, (11, 5), lora=lora).eval()(batch), learned)


def test_a_changed_neighbour_changes_nothing(llama):
    rows, others = ragged(9, 9, 31, 5), ragged(9, 9, 31, 5, seed=1)
    model = tuned(llama).eval()
    whole = model(batch_of(rows))
    for changed in range(len(rows)):
        some = [*rows[:changed], others[changed], *rows[changed + 1 :]]
        found = model(batch_of(some))
        kept = [place for place in range(len(rows)) if place != changed]
        assert torch.equal(found[kept], whole[kept]) and found[changed] != whole[changed]


@pytest.mark.parametrize("lengths", [(4, 4, 4), (2, 50, 3, 49, 20), (64,)])
def test_the_packed_loss_is_that_of_the_rows_alone(llama, lengths):
    """In groups of like length, without attention across examples; the gradients too."""
    rows = ragged(*lengths)
    model = tuned(llama).train()
    whole = model.negative_log_likelihood(batch_of(rows))
    whole.sum().backward()
    packed = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    alone = [model.negative_log_likelihood(batch_of([row])) for row in rows]
    assert torch.allclose(torch.cat(alone), whole, atol=1e-5)
    torch.cat(alone).sum().backward()
    for name, value in model.named_parameters():
        assert name not in packed or torch.allclose(value.grad, packed[name], atol=1e-4), name


class Parts:
    """The same rows in batches of one size, of which only the last token is learned, or every one."""

    seed = 0

    def __init__(self, size, loss_on):
        self.rows, self.size, self.loss_on = ragged(5, 40, 3, 17, 9, 2, 30, 8), size, loss_on

    def epoch(self, number):
        count = len(self.rows) // self.size
        return range(number * count, (number + 1) * count)

    def batch(self, number):
        start = number * self.size % len(self.rows)
        found = batch_of(self.rows[start : start + self.size], number)
        if self.loss_on == "all":
            return found
        return TokenBatch(
            found.tokens, found.lengths, found.ends, {}, found.group, found.label, found.number
        )  # fmt: skip


@pytest.mark.parametrize("loss_on", ["all", "answer"])
@pytest.mark.parametrize(("size", "accumulate"), [(4, 2), (2, 4), (1, 8)])
def test_accumulated_batches_take_the_step_of_the_whole(llama, loss_on, size, accumulate):
    """Divided by the tokens of all of them: a mean of their means would weigh tokens of short rows more."""
    found = []
    for parts, options in ((8, FitOptions()), (size, FitOptions(accumulate=accumulate))):
        model = tuned(llama)
        progress = next(
            fit(model, Parts(parts, loss_on), TokenObjective(), Descent(model, 1.0), options, Progress())
        )
        learned = [value.detach() for value in model.parameters() if value.requires_grad]
        found.append((progress.step, progress.loss, torch.cat([value.flatten() for value in learned])))
    (steps, loss, weights), (same_steps, same_loss, same) = found
    assert steps == same_steps == 1 and loss == pytest.approx(same_loss, abs=1e-6)
    assert torch.allclose(weights, same, atol=1e-6)
    fresh = torch.cat([value.flatten() for value in tuned(llama).parameters() if value.requires_grad])
    assert not torch.allclose(weights, fresh, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"r": 4}, "has `r` 2, `lora.r` is 4; set it so"),
        ({"targets": ["k_proj"]}, "missing .*k_proj.*not expected .*_proj"),
    ],
)
def test_an_adapter_of_an_earlier_stage_must_fit(llama, tmp_path, settings, match):
    model = tuned(llama)
    step(model, batch_of(ragged(9, 3)))
    model.save_adapter(tmp_path / "adapter")
    chosen = {"r": 2, "alpha": 4.0, "dropout": 0.0, "adapter": str(tmp_path / "adapter")} | settings
    with pytest.raises(ValueError, match=match):
        CausalModel(llama, (11, 5), lora=LoRA(**chosen))


def test_an_adapter_of_another_base_is_refused(llama, tmp_path):
    model = tuned(llama)
    step(model, batch_of(ragged(9, 3)))
    model.save_adapter(tmp_path / "adapter")
    other = random_model("llama", head=True, **WITHOUT)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(tmp_path / "other")
    lora = LoRA(r=2, alpha=4.0, dropout=0.0, adapter=str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="was trained on other base weights"):
        CausalModel(Pretrained(tmp_path / "other"), (11, 5), lora=lora)
