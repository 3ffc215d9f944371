import pytest
import torch

from legorec.texts import GenerationParameters
from legorec.texts.picking import ENOUGH, Picker, _most_probable

SCORES = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]])
CPU = torch.device("cpu")


def frequencies(rows=20_000, allowed=None, **given):
    """How often each token is drawn from the scores, over many rows of their own numbers."""
    parameters = GenerationParameters(**{"max_tokens": 1, "temperature": 1.0, "seed": 1, **given})
    picker = Picker(parameters, [[0]] * rows, range(rows), 5, CPU)
    allowed_BV = None if allowed is None else torch.tensor([allowed]).expand(rows, -1)
    tokens, _ = picker.pick(SCORES.expand(rows, -1), 0, allowed_BV)
    return torch.bincount(tokens, minlength=5) / rows


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_they_are_probable(temperature):
    expected = (SCORES[0] / temperature).softmax(-1)
    assert torch.allclose(frequencies(temperature=temperature), expected, atol=0.012)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.7}, [0, 1]),
        ({"top_k": 3, "top_p": 0.99}, [0, 1, 2]),
        ({"top_k": 50}, [0, 1, 2, 3]),
        ({"allowed": [False, True, True, False, False]}, [1, 2]),
    ],
)
def test_only_the_most_probable_or_allowed_ones_are_drawn(given, kept):
    expected = torch.zeros(5)
    expected[kept] = SCORES[0, kept].softmax(-1)
    assert torch.allclose(frequencies(**given), expected, atol=0.012)


def test_a_penalty_counts_tokens_of_prompt_and_text():
    """By hand: scores above 0 are divided, those below multiplied."""
    picker = Picker(GenerationParameters(max_tokens=2, repetition_penalty=4.0), [[0]], [0], 3, CPU)
    scores = torch.tensor([[2.0, 1.0, -0.1]])
    token, log = picker.pick(scores, 0)
    assert token.item() == 1  # 2 / 4 < 1
    assert log.item() == pytest.approx(scores[0].log_softmax(-1)[1].item())  # of the model itself
    assert picker.pick(scores, 1)[0].item() == 0  # now 2 / 4, 1 / 4, -0.1
    picker = Picker(GenerationParameters(max_tokens=2, repetition_penalty=4.0), [[0, 1]], [0], 3, CPU)
    assert picker.pick(torch.tensor([[-0.1, -0.05, -0.3]]), 0)[0].item() == 1


def test_rows_go_on_with_their_own_numbers():
    parameters = GenerationParameters(max_tokens=3, temperature=1.0, seed=1, repetition_penalty=1.3)
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    prompts, whole = [[0], [1], [2], [3, 4]], []
    picker = Picker(parameters, prompts, [0] * 4, 5, CPU)
    for step in range(3):
        whole.append(picker.pick(scores, step)[0])
    picker = Picker(parameters, prompts, [0] * 4, 5, CPU)
    picker.pick(scores, 0)
    kept = torch.tensor([1, 3])
    picker.keep(kept)
    for step in (1, 2):
        assert torch.equal(picker.pick(scores[kept], step)[0], whole[step][kept])


@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_a_large_vocabulary_is_sorted_as_far_as_it_takes(spread):
    """Flat scores need more tokens than are looked at first; the few of steep ones do not."""
    scores = spread * torch.randn(3, 3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = scores.softmax(-1)
    found = _most_probable(weight, 0, 0.8)
    for row, kept in zip(weight, found, strict=True):
        ordered = row.sort(descending=True)
        count = int((ordered.values.cumsum(0) < 0.8).sum()) + 1
        assert set(kept.nonzero()[:, 0].tolist()) == set(ordered.indices[:count].tolist())
        assert (count > ENOUGH) == (spread < 1)
