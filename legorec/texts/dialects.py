"""What servers of the OpenAI protocol know beyond it, or do not know of it.

A server that fills what is not said from a checkpoint's ``generation_config`` is told all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from legorec.texts.generator import GenerationParameters


def _nothing(parameters: GenerationParameters) -> dict[str, Any]:
    return {}


def _vllm(parameters: GenerationParameters) -> dict[str, Any]:
    return {
        "top_k": parameters.top_k,
        "min_p": 0.0,
        "repetition_penalty": parameters.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def _llama_cpp(parameters: GenerationParameters) -> dict[str, Any]:
    return {
        "top_k": parameters.top_k,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": parameters.repetition_penalty,
        "repeat_last_n": -1,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def _transformers(parameters: GenerationParameters) -> dict[str, Any]:
    """A whole ``generation_config`` as JSON; which tokens end a text stays the checkpoint's own affair."""
    sampled = parameters.temperature > 0
    said = {
        "do_sample": sampled,
        "temperature": parameters.temperature if sampled else 1.0,
        "top_p": parameters.top_p,
        "top_k": parameters.top_k,
        "typical_p": 1.0,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "repetition_penalty": parameters.repetition_penalty,
        "encoder_repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "num_beams": 1,
        "min_length": 0,
        "max_new_tokens": parameters.max_tokens,
    }
    return {"generation_config": json.dumps(said)}


@dataclass(frozen=True)
class Dialect:
    """One kind of server.

    Args:
        more: what is said beyond the protocol.
        knows: parameters among ``top_k`` and ``repetition_penalty`` that it takes.
        several: it knows ``n``; where it does not, several requests are sent.
        log_probabilities: it gives them if asked.
        structured: it keeps to a JSON schema if asked.
        limit: what it calls the largest number of tokens of a chat's answer.
    """

    more: Callable[[GenerationParameters], dict[str, Any]] = _nothing
    knows: frozenset[str] = frozenset()
    several: bool = True
    log_probabilities: bool = True
    structured: bool = True
    limit: str = "max_tokens"


BOTH = frozenset({"top_k", "repetition_penalty"})
DIALECTS: dict[str, Dialect] = {
    "plain": Dialect(),
    "openai": Dialect(limit="max_completion_tokens"),
    "vllm": Dialect(_vllm, BOTH),
    "llama.cpp": Dialect(_llama_cpp, BOTH),
    "ollama": Dialect(several=False, log_probabilities=False),
    "transformers": Dialect(_transformers, BOTH, several=False, log_probabilities=False, structured=False),
}


def check_known(server: str, parameters: GenerationParameters) -> None:
    """Refuse a parameter that the server would not know.

    Raises:
        ValueError: one is set, and the server does not take it.
    """
    for name, usual in (("top_k", 0), ("repetition_penalty", 1.0)):
        if getattr(parameters, name) != usual and name not in DIALECTS[server].knows:
            able = ", ".join(each for each, row in DIALECTS.items() if name in row.knows)
            raise ValueError(
                f"`{name}` must be {usual} with `server: {server}`, which does not know it, got "
                f"{getattr(parameters, name)}; those that do are {able}"
            )
