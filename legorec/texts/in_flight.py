"""A bounded number of asynchronous calls under way, for a caller that knows nothing of event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A running event loop; whatever still runs in it on leaving is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="requests", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def as_done(
    loop: asyncio.AbstractEventLoop,
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    at_once: int,
) -> Iterator[Result]:
    """The result for each item, in the order in which they are done.

    The next item is taken, in the caller's thread, only when fewer than ``at_once`` are under way or wait to
    be handed out; so memory does not grow with their number.
    """
    source = iter(items)
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    under_way, more = 0, True
    while more or under_way:
        while more and under_way < at_once:
            try:
                item = next(source)
            except StopIteration:
                more = False
                break
            asyncio.run_coroutine_threadsafe(_awaited(work, item), loop).add_done_callback(done.put)
            under_way += 1
        if under_way:
            result = done.get().result()
            under_way -= 1
            yield result


async def _awaited(work: Callable[[Item], Awaitable[Result]], item: Item) -> Result:
    return await work(item)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*others, return_exceptions=True)
