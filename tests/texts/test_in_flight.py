import asyncio
import threading

import pytest

from legorec.texts.in_flight import as_done, loop_in_thread


async def doubled(item):
    await asyncio.sleep(0.001 * (item % 3))
    return 2 * item


def test_every_item_is_worked_on_once_and_never_more_at_a_time():
    under_way, most = 0, 0

    async def work(item):
        nonlocal under_way, most
        under_way, most = under_way + 1, max(most, under_way + 1)
        found = await doubled(item)
        under_way -= 1
        return found

    with loop_in_thread() as loop:
        assert sorted(as_done(loop, range(50), work, 4)) == [2 * item for item in range(50)]
    assert most == 4


def test_nothing_to_do_is_nothing_done():
    with loop_in_thread() as loop:
        assert list(as_done(loop, [], doubled, 4)) == []


def test_an_error_comes_to_the_caller_and_leaves_no_thread():
    async def work(item):
        raise LookupError(str(item))

    before = threading.active_count()
    with loop_in_thread() as loop, pytest.raises(LookupError, match="0"):
        list(as_done(loop, range(3), work, 1))
    assert threading.active_count() == before


def test_leaving_cancels_what_is_under_way():
    ended = []

    async def work(item):
        try:
            await asyncio.sleep(0 if item == 0 else 60)
        finally:
            ended.append(item)

    with loop_in_thread() as loop:
        next(as_done(loop, range(9), work, 3))
    assert sorted(ended) == [0, 1, 2]


def test_items_are_taken_in_the_callers_thread():
    threads = set()

    def items():
        for item in range(9):
            threads.add(threading.get_ident())
            yield item

    with loop_in_thread() as loop:
        list(as_done(loop, items(), doubled, 3))
    assert threads == {threading.get_ident()}
