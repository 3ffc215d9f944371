"""The ``model`` layer of a language model that is asked for its answers as texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from legorec.settings.generate import BudgetSettings
from legorec.settings.generators import EndpointSettings, GenerationSettings, LocalModelSettings
from legorec.settings.prompted import PromptSettings
from legorec.settings.values import SafeName, Strict, Text


class AskedSettings(Strict):
    """A language model that is asked as it is, at an endpoint or on this machine; nothing is trained.

    Its tokens are not known: of ``prompt``, ``max_length``, ``loss_on`` and the ``budget`` of a segment say
    nothing here, and a template's ``{title:20}`` is 20 words.

    Args:
        log: the log of answers (.jsonl). What it holds is not asked again.
    """

    family: Literal["asked"]
    name: SafeName
    prompt: PromptSettings
    generator: Annotated[EndpointSettings | LocalModelSettings, Field(discriminator="kind")]
    parameters: GenerationSettings = GenerationSettings(max_tokens=4)
    budget: BudgetSettings = BudgetSettings()
    log: Annotated[Text, Field(pattern=r"\.jsonl$")]
