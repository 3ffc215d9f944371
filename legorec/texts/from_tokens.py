"""Texts after prompts that are token ids already, as a tuned model's own prompts are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from legorec.texts.decoding import Row, decode
from legorec.texts.generator import GeneratedText, GenerationParameters
from legorec.texts.picking import Picker

Spell = Callable[[Sequence[int]], str]


def texts_after(
    model: Any,
    prompts: Sequence[Sequence[int]],
    parameters: GenerationParameters,
    *,
    ends: frozenset[int],
    spell: Spell,
    token_budget: int = 8192,
) -> list[tuple[GeneratedText, ...]]:
    """``num_texts`` texts for each prompt, in the order of the prompts; those of like length run together.

    A prompt's texts do not depend on the other prompts, but for rounding. A text that is stopped or cut has
    the log-probability of all of its tokens.

    Args:
        model: with a head, see ``legorec.lm.generating``.
        ends: tokens that end a text, and are no part of it.
        spell: token ids -> text.
        token_budget: rows times tokens, with padding, of one batch.

    Raises:
        ValueError: tokens are drawn without a seed.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)
    found: dict[int, tuple[GeneratedText, ...]] = {}
    while order:
        longest = len(prompts[order[0]]) + parameters.max_tokens
        size = max(1, token_budget // (longest * parameters.num_texts))
        chosen, order = order[:size], order[size:]
        rows = [Row(prompts[place]) for place in chosen for _ in range(parameters.num_texts)]
        numbers = list(range(parameters.num_texts)) * len(chosen)
        stopped = partial(_stopped, spell, parameters.stop) if parameters.stop else None
        run_rows(model, rows, numbers, parameters, ends, stopped)
        texts = [_text(row, parameters.stop, ends, spell) for row in rows]
        for number, place in enumerate(chosen):
            start = number * parameters.num_texts
            found[place] = tuple(texts[start : start + parameters.num_texts])
    return [found[place] for place in range(len(prompts))]


def run_rows(
    model: Any,
    rows: Sequence[Row],
    numbers: Sequence[int],
    parameters: GenerationParameters,
    ends: frozenset[int],
    stopped: Callable[[Sequence[Row]], Sequence[bool]] | None,
) -> None:
    """Fill the rows of one batch; the model's mode is as before afterwards.

    Args:
        numbers: which text of its prompt each row is.
        stopped: whether each of some rows has come to a stop text.
    """
    device = next(model.parameters()).device
    vocab_size = int(model.get_output_embeddings().weight.size(0))
    picker = Picker(parameters, [row.prompt for row in rows], numbers, vocab_size, device)
    training = model.training
    model.eval()
    try:
        decode(model, rows, picker, ends, parameters.max_tokens, stopped)
    finally:
        model.train(training)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    return text[: min((place for each in stop if (place := text.find(each)) >= 0), default=len(text))]


def _stopped(spell: Spell, stop: Sequence[str], rows: Sequence[Row]) -> list[bool]:
    tail = max(len(each.encode()) for each in stop) + 4  # a token is a byte at least
    return [any(each in spell(row.tokens[-tail:]) for each in stop) for row in rows]


def _text(row: Row, stop: Sequence[str], ends: frozenset[int], spell: Spell) -> GeneratedText:
    tokens = row.tokens[:-1] if row.tokens and row.tokens[-1] in ends else row.tokens
    text = before_stop(spell(tokens), stop)
    return GeneratedText(text, row.log_probability, len(row.tokens), row.finished)
