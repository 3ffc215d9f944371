"""Questions of many threads, answered together by one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Closed(Exception):
    """The service is about to stop."""


@dataclass
class _Waiting:
    key: Hashable
    question: Any
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: Exception | None = None


class Gathering:
    """One thread that answers, with those questions together that wait and are of one kind.

    Nobody waits for company: what has come while a batch was computed is the next batch. As one thread works,
    the model is never asked and changed at once.

    Args:
        answer: (key, questions) -> an answer for each. Where it raises, each is asked alone, so that the
            error is told to whoever caused it.
        most: questions of a batch.
    """

    def __init__(self, answer: Callable[[Any, Sequence[Any]], Sequence[Any]], most: int = 256) -> None:
        self._answer, self._most = answer, most
        self._queue: deque[_Waiting] = deque()
        self._come, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    def ask(self, key: Hashable, question: Any) -> Any:
        """The answer; raises what ``answer`` raises for this question alone.

        Raises:
            Closed: it was closed before.
        """
        waiting = _Waiting(key, question)
        with self._come:
            if self._closed:
                raise Closed
            self._queue.append(waiting)
            self._come.notify()
        waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error
        return waiting.answer

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._come:
            self._closed = True
            self._come.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._together(batch)
            for each in batch:
                each.done.set()

    def _next(self) -> list[_Waiting]:
        """The questions that are like the first that waits; none when it is closed."""
        with self._come:
            while not self._queue and not self._closed:
                self._come.wait()
            if not self._queue:
                return []
            key = self._queue[0].key
            chosen = [each for each in self._queue if each.key == key][: self._most]
            taken = set(map(id, chosen))
            self._queue = deque(each for each in self._queue if id(each) not in taken)
            return chosen

    def _together(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._answer(batch[0].key, [each.question for each in batch])
            for each, answer in zip(batch, answers, strict=True):
                each.answer = answer
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for each in batch:
                self._together([each])
