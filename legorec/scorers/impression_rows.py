"""What all scorers of stored impressions share: their rows, and the pages in which they are dealt out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from legorec.data.evaluation import Impressions
from legorec.processes import Processes


class ImpressionRows:
    """The rows of a ``Ranking`` of some impressions, which a scorer has as ``data``."""

    data: Impressions

    @property
    def group(self) -> np.ndarray:
        return self.data.group

    @property
    def label(self) -> np.ndarray:
        return self.data.interactions.labels

    @property
    def group_by(self) -> str:
        return self.data.group_by

    def __len__(self) -> int:
        return len(self.data)

    def dealt(self, size: int, processes: Processes) -> Iterator[tuple[int, np.ndarray, int]]:
        """Pages of ``size`` impressions, turn by turn.

        Yields: the number of this process's page, its impressions (none where it has no page in this turn),
            and how many impressions all processes finish in the turn.
        """
        count = len(self.data)
        for turn, number in processes.turns(-(-count // size)):
            done = min(turn.stop * size, count) - turn.start * size
            page = number or 0
            stop = 0 if number is None else min((page + 1) * size, count)
            yield page, np.arange(0 if number is None else page * size, stop), done
