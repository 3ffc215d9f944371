"""A column of a data frame, as far as this project meets one, without pandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class Labelled:
    """``len``, iteration and slices go by place, single values by label."""

    def __init__(self, values: Sequence[Any], labels: Sequence[Any]) -> None:
        self.values, self.labels = list(values), list(labels)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return Labelled(self.values[key], self.labels[key])
        if key not in self.labels:
            raise KeyError(key)
        return self.values[self.labels.index(key)]
