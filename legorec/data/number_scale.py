"""How the numbers of a field lie, by which they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

Scaled = Literal["standard", "min_max"]


@dataclass(frozen=True)
class NumberScale:
    """Mean, standard deviation, least value and range of a field's given numbers; 0 where there are none.

    A store that was made like an older one notes those of that store, so that a number means what it meant.
    """

    mean: float = 0.0
    deviation: float = 0.0
    least: float = 0.0
    range: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Those of finite numbers."""
        if not len(values):
            return cls()
        numbers = values.astype(np.float64)
        least, largest = float(numbers.min()), float(numbers.max())
        # The mean of equal numbers may be off by a rounding error, which must not become the deviation.
        deviation = float(numbers.std()) if least < largest else 0.0
        return cls(float(numbers.mean()), deviation, least, largest - least)

    @classmethod
    def noted(cls, fact: Mapping[str, Any]) -> Self | None:
        """Those that the manifest of a store notes of a field, if it does."""
        return cls(**fact["scale"]) if "scale" in fact else None

    def fact(self) -> dict[str, float]:
        """As a manifest notes them."""
        return asdict(self)

    def centre_and_width(self, scaled: Scaled) -> tuple[float, float]:
        """What is taken off a number, and what the rest is divided by."""
        return (self.least, self.range) if scaled == "min_max" else (self.mean, self.deviation)
