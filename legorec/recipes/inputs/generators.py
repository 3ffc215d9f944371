"""The source of texts that the settings name."""

from __future__ import annotations

from pathlib import Path

import torch

from legorec.settings.generators import (
    EndpointSettings,
    GenerationSettings,
    LocalModelSettings,
    ReplaySettings,
)
from legorec.texts import GenerationParameters, TextGenerator
from legorec.texts.endpoint import EndpointTextGenerator
from legorec.texts.replayed import Answers, ReplayedTextGenerator


def parameters_of(settings: GenerationSettings) -> GenerationParameters:
    """The parameters of each text."""
    return GenerationParameters(**settings.model_dump())


def generator_of(
    settings: EndpointSettings | LocalModelSettings | ReplaySettings,
    device: torch.device,
    answers: Answers | None = None,
) -> TextGenerator:
    """The source of texts.

    Args:
        device: of a local model.
        answers: the opened log of a replay.

    Raises:
        ValueError: the checkpoint or the adapter is missing or of another kind, or an argument is wrong.
    """
    if isinstance(settings, EndpointSettings):
        return EndpointTextGenerator(**settings.model_dump(exclude={"kind"}))
    if isinstance(settings, ReplaySettings):
        assert answers is not None, "whoever asks for a replay opens its log"
        return ReplayedTextGenerator(answers, identity_of(settings.of), settings.log)
    from legorec.texts.local import LocalTextGenerator

    options = settings.model_dump(exclude={"kind", "checkpoint", "adapter"})
    adapter = Path(settings.adapter) if settings.adapter else None
    return LocalTextGenerator.from_folder(Path(settings.checkpoint), adapter, device=device, **options)


def identity_of(settings: EndpointSettings | LocalModelSettings) -> dict[str, object]:
    """What ``identity`` says, without loading a model."""
    if isinstance(settings, EndpointSettings):
        return EndpointTextGenerator(**settings.model_dump(exclude={"kind"})).identity
    from legorec.texts.local_model import folder_identity

    options = settings.model_dump(include={"dtype", "chat", "end_tokens", "structured"})
    adapter = Path(settings.adapter) if settings.adapter else None
    return folder_identity(Path(settings.checkpoint), adapter, **options)
