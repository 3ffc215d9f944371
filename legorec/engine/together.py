"""Models whose weights are spread over the processes of a run."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from legorec.abilities import RunsTogether


def finishing(model: nn.Module) -> Callable[[], Tensor | None]:
    """The model's ``finish``, see ``abilities.RunsTogether``; for any other model, nothing."""
    found = next((each for each in model.modules() if isinstance(each, RunsTogether)), None)
    return (lambda: None) if found is None else found.finish
