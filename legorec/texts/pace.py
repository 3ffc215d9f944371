"""When the next request may be sent: limits a minute, pauses that a server asks for, waits between tries."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BURST_S = 1.0  # so much of a minute's allowance may be used at once after a quiet time


class Pace:
    """Times to send at, for requests of several threads or tasks.

    Args:
        requests_per_minute: None is no limit.
        tokens_per_minute: of prompts and answers together; None is no limit.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._costs = (requests_per_minute, tokens_per_minute)
        self._free = [now() - BURST_S, now() - BURST_S]  # when each allowance is next unused
        self._paused = 0.0
        self._now = now
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> float:
        """Take a place in line; the seconds to wait for it."""
        with self._lock:
            now = self._now()
            start = max(now, *self._free) if any(self._costs) else now
            for place, (limit, amount) in enumerate(zip(self._costs, (1, tokens), strict=True)):
                if limit is not None:
                    self._free[place] = max(self._free[place], now - BURST_S) + amount * 60.0 / limit
            return max(0.0, start - now)

    def correct(self, tokens: int) -> None:
        """Give back what was reserved and not used, or take more if negative."""
        limit = self._costs[1]
        if limit is not None:
            with self._lock:
                self._free[1] -= tokens * 60.0 / limit

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long: a server that refuses one request refuses the others too."""
        with self._lock:
            self._paused = max(self._paused, self._now() + seconds)

    def paused(self) -> float:
        """The seconds that are left of a pause."""
        with self._lock:
            return max(0.0, self._paused - self._now())


def backoff(attempt: int, first: float, longest: float, draw: Callable[[], float] = random.random) -> float:
    """Seconds after the given attempt, from 0: twice as many each time, half of them by chance.

    Chance keeps requests that failed together from coming back together.
    """
    whole = min(longest, first * 2.0 ** min(attempt, 60))
    return whole * (0.5 + 0.5 * draw())


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds of a ``Retry-After`` header, a number or a date (RFC 9110, 10.2.3); None: it says none."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None
