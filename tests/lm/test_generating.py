"""A tuned model that generates says what the tuned model would: equal logits, whatever was tuned and how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from legorec.batch import TokenBatch
from legorec.lm.answering import CausalModel
from legorec.lm.generating import generating
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from legorec.lm.untrained import Untrained
from legorec.texts.from_tokens import texts_after
from legorec.texts.generator import GenerationParameters
from tests.support.tiny import random_model

LENGTHS = [5, 9, 2]
TOKENS = torch.arange(3, 3 + sum(LENGTHS)) % 40


def batch() -> TokenBatch:
    return TokenBatch(TOKENS, torch.tensor(LENGTHS), torch.tensor([1]), {}, torch.arange(3), torch.zeros(3))


def unlike_at_first(model: CausalModel) -> CausalModel:
    """As if it had learned: no adapter is zero any more."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.upper.parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value) * 0.05)
    return model.eval()


def models(tmp_path: Path, kind: str) -> CausalModel:
    if kind == "scratch":
        torch.manual_seed(0)
        return CausalModel(Untrained(48, 16, 2, 2, max_length=64), (1, 2), lora=LoRA(enabled=False))
    random_model("gpt2" if kind == "gpt2" else "llama", head=True).save_pretrained(tmp_path)
    lora = LoRA(enabled=kind != "whole", r=4, alpha=8.0, dropout=0.0)
    return CausalModel(Pretrained(tmp_path), (1, 2), layer=1 if kind == "upper" else 0, lora=lora)


@pytest.mark.parametrize("kind", ["scratch", "adapters", "upper", "whole", "gpt2"])
def test_it_gives_the_logits_of_the_tuned_model(tmp_path: Path, kind: str) -> None:
    model = unlike_at_first(models(tmp_path, kind))
    headed = generating(model)
    with torch.inference_mode():
        expected = model.logits(model.states(batch()))
        found = torch.cat([headed(input_ids=row[None]).logits[0] for row in TOKENS.split(LENGTHS)])
    torch.testing.assert_close(found.float(), expected, atol=1e-4, rtol=1e-4)


def test_texts_after_prompts_are_those_of_each_prompt_alone(tmp_path: Path) -> None:
    headed = generating(models(tmp_path, "scratch"))
    prompts = [row.tolist() for row in TOKENS.split(LENGTHS)]
    parameters = GenerationParameters(max_tokens=6, temperature=0.7, num_texts=3, seed=5)

    def said(chosen: list[list[int]], budget: int = 8192) -> list[list[str]]:
        found = texts_after(
            headed,
            chosen,
            parameters,
            ends=frozenset({7}),
            spell=lambda ids: " ".join(map(str, ids)),
            token_budget=budget,
        )
        assert all(text.log_probability is not None for texts in found for text in texts)
        return [[text.text for text in texts] for texts in found]

    together = said(prompts)
    assert together == [said([prompt])[0] for prompt in prompts] == said(prompts, budget=1)
    assert len(set(together[0])) > 1, "drawn texts differ"


def test_a_log_probability_is_that_of_the_model_itself(tmp_path: Path) -> None:
    model = models(tmp_path, "scratch").eval()
    parameters = GenerationParameters(max_tokens=5, temperature=0.5, num_texts=2, seed=1)
    prompt = TOKENS[:4].tolist()
    (texts,) = texts_after(
        generating(model),
        [prompt],
        parameters,
        ends=frozenset(),
        spell=lambda ids: " ".join(map(str, ids)),
    )
    for text in texts:
        ids = [int(each) for each in text.text.split()]
        whole = torch.tensor(prompt + ids)
        row = TokenBatch(
            whole,
            torch.tensor([len(whole)]),
            torch.arange(len(prompt), len(whole)),
            {},
            torch.zeros(1),
            torch.zeros(1),
        )
        with torch.inference_mode():
            expected = -float(model.negative_log_likelihood(row).sum())
        assert text.log_probability == pytest.approx(expected, abs=1e-3)
