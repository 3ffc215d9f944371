"""How items are found by the texts that a model says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from legorec.settings.values import Flag, Positive, Strict, Text


class RetrievalSettings(Strict):
    """CALRec's retrieval, see ``legorec.scorers.round_robin``; it ranks the whole catalogue.

    ``num_texts`` are drawn for each user at ``temperature``, ``max_tokens`` at most, up to one of ``stop``.
    ``epsilon`` weighs their log-probabilities: sums over their tokens, or means with ``per_token``.
    """

    num_texts: Positive = 32
    temperature: Annotated[float, Field(gt=0)] = 0.5
    epsilon: Annotated[float, Field(ge=0)] = 1 / 5000
    per_token: Flag = False
    max_tokens: Positive = 64
    stop: list[Text] = ["\n"]
