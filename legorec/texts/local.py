"""A causal language model on this machine as a source of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from legorec.lm.causal import load_causal
from legorec.texts.automata import Automata
from legorec.texts.decoding import Row
from legorec.texts.from_tokens import before_stop, run_rows
from legorec.texts.generator import (
    GeneratedText,
    GenerationParameters,
    TextAnswer,
    TextFailure,
    TextRequest,
)
from legorec.texts.local_model import folder_weights, load_tokenizer, memory_weights
from legorec.texts.picking import check_seed
from legorec.texts.prompt_tokens import PromptError, PromptTokens, end_ids
from legorec.texts.token_bytes import token_bytes

TOKENIZER_FILES = (
    "tokenizer*",
    "*.model",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "chat_template*",
)
_Prompt = tuple[TextRequest, list[int]]


class LocalTextGenerator:
    """Texts of a causal model, of a folder (``from_folder``) or in memory with its adapter.

    A window of requests is read, sorted by length, and cut into batches, so that padding adds little. What a
    request gets does not depend on the others: greedy texts are the same in any batch (up to the rounding of
    scores that are equal to their last digits), and drawn ones come from numbers of their own. Nothing is
    taken from the model's ``generation_config``.

    Args:
        model: with a head; it must not change while it is used here.
        tokenizer: of transformers.
        weights: what they are, for ``identity``; None: their digest, taken when it is first asked for.
        chat: see ``PromptTokens``.
        end_tokens: that end a text; none: the tokenizer's own.
        structured: hold the model to a request's format by an automaton; False asks for it in words.
        token_budget: rows times tokens, with padding, of one batch; a row longer than it is a batch alone.
        window: requests that are read at a time.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        weights: dict[str, Any] | None = None,
        chat: str = "auto",
        end_tokens: Sequence[str] = (),
        structured: bool = True,
        token_budget: int = 8192,
        window: int = 256,
    ) -> None:
        for name, value in (("token_budget", token_budget), ("window", window)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.tokenizer = tokenizer
        self._prompts = PromptTokens(tokenizer, chat, say_format=not structured)
        self._ends = end_ids(tokenizer, end_tokens)
        self._structured, self._token_budget, self._window = structured, token_budget, window
        self._asked = {"chat": chat, "end_tokens": list(end_tokens), "structured": structured}
        self._weights = weights
        self._spelled: dict[int, bytes] = {}
        self._automata: Automata | None = None

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        adapter: Path | None = None,
        *,
        dtype: str = "fp32",
        device: torch.device | None = None,
        **options: Any,
    ) -> LocalTextGenerator:
        """The model of a checkpoint; see ``lm.causal.load_causal``.

        Raises:
            ValueError: the checkpoint or the adapter is missing, damaged or of another kind.
        """
        model = load_causal(folder, adapter, dtype, device)
        weights = folder_weights(folder, adapter, dtype)
        return cls(model, load_tokenizer(folder), weights=weights, **options)

    @property
    def identity(self) -> dict[str, Any]:
        """The digests of weights, tokenizer and adapter, and how the model is asked."""
        if self._weights is None:
            self._weights = memory_weights(self.model, self.tokenizer)
        return {"kind": "local", **self._weights, **self._asked}

    def count_tokens(self, request: TextRequest) -> int:
        """Tokens of the rendered prompt; 0 where it cannot be rendered."""
        try:
            return len(self._prompts.ids(request))
        except PromptError:
            return 0

    def generate(
        self, requests: Iterable[TextRequest], parameters: GenerationParameters
    ) -> Iterator[TextAnswer | TextFailure]:
        """See ``TextGenerator``; a window of requests is taken at a time.

        Raises:
            ValueError: tokens are drawn without a seed; ``outlines-core`` is not installed and needed.
        """
        check_seed(parameters)
        source = iter(requests)
        while window := list(islice(source, self._window)):
            prompts: list[_Prompt] = []
            for request in window:
                try:
                    prompts.append((request, self._checked_ids(request, parameters)))
                except PromptError as error:
                    yield TextFailure(request, str(error))
            for batch in _batches(prompts, parameters, self._token_budget):
                yield from self._answers(batch, parameters)

    def _checked_ids(self, request: TextRequest, parameters: GenerationParameters) -> list[int]:
        ids = self._prompts.ids(request)
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and len(ids) + parameters.max_tokens > most:
            raise PromptError(
                f"the prompt and `max_tokens` {parameters.max_tokens} are more than the {most} tokens that "
                "the model reads"
            )
        return ids

    def _answers(self, batch: Sequence[_Prompt], parameters: GenerationParameters) -> list[TextAnswer]:
        numbers = list(range(parameters.num_texts)) * len(batch)
        rows = [Row(ids, self._guide(request)) for request, ids in batch for _ in range(parameters.num_texts)]
        stopped = _Stops(self.tokenizer, parameters.stop).reached if parameters.stop else None
        run_rows(self.model, rows, numbers, parameters, self._ends, stopped)
        texts = [self._text(row, parameters.stop) for row in rows]
        each = parameters.num_texts
        return [
            TextAnswer(
                request,
                tuple(texts[place * each : (place + 1) * each]),
                len(ids),
                sum(text.num_tokens or 0 for text in texts[place * each : (place + 1) * each]),
            )
            for place, (request, ids) in enumerate(batch)
        ]

    def _guide(self, request: TextRequest) -> Any:
        if request.format is None or not self._structured:
            return None
        if self._automata is None:
            self._spelled = token_bytes(self.tokenizer)
            self._automata = Automata(self._spelled, min(self._ends), self._vocab_size())
        return self._automata.guide(request.format)

    def _vocab_size(self) -> int:
        return int(self.model.get_output_embeddings().weight.size(0))

    def _text(self, row: Row, stop: Sequence[str]) -> GeneratedText:
        tokens = row.tokens[:-1] if row.tokens and row.tokens[-1] in self._ends else row.tokens
        if row.guide is not None:
            # As the automaton has them: a tokenizer may drop blanks when it decodes.
            text = b"".join(self._spelled[token] for token in tokens).decode("utf-8", "replace")
            text = text.removeprefix(" ")
        else:
            text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return GeneratedText(before_stop(text, stop), row.log_probability, len(row.tokens), row.finished)


class _Stops:
    """Whether texts have come to one of the stop texts; only their last tokens are read again."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._tail = max(len(each.encode()) for each in stop) + 4  # a token is a byte at least

    def reached(self, rows: Sequence[Row]) -> list[bool]:
        tails = self._tokenizer.batch_decode(
            [row.tokens[-self._tail :] for row in rows],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return [any(stop in tail for stop in self._stop) for tail in tails]


def _batches(
    prompts: list[_Prompt], parameters: GenerationParameters, token_budget: int
) -> Iterator[list[_Prompt]]:
    """The longest ones first, so that memory that does not suffice is seen at the start."""
    ordered = sorted(prompts, key=lambda prompt: len(prompt[1]), reverse=True)
    while ordered:
        longest = len(ordered[0][1]) + parameters.max_tokens
        size = max(1, token_budget // (longest * parameters.num_texts))
        yield ordered[:size]
        ordered = ordered[size:]
