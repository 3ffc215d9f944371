"""Requests are taken as there is room for them, and sent no faster than is allowed."""

import time

import pytest

from tests.support.endpoints import GREEDY, endpoint, requests
from tests.support.text_server import Reply, TextServer


def test_requests_are_taken_only_when_there_is_room():
    taken = []

    def source():
        for each in requests(100):
            taken.append(each.id)
            yield each

    with TextServer(latency=0.01) as server:
        answers = endpoint(server, concurrency=4).generate(source(), GREEDY)
        assert taken == []
        for count in range(1, 20):
            next(answers)
            assert count <= len(taken) <= count + 3
        answers.close()
        assert server.most_at_once <= 4 and len(server.asked) <= 24


def test_closing_gives_up_what_hangs():
    with TextServer([Reply()], latency=0.0) as server:
        server._script = iter([Reply(), *[Reply(fault="hang")] * 9])
        answers = endpoint(server, concurrency=3).generate(requests(9), GREEDY)
        next(answers)
        started = time.monotonic()
        answers.close()
        assert time.monotonic() - started < 2


def test_a_limit_a_minute_is_kept():
    with TextServer() as server:
        source, started = endpoint(server, requests_per_minute=1200, concurrency=8), time.monotonic()
        assert len(list(source.generate(requests(32), GREEDY))) == 32
        assert time.monotonic() - started > 0.5  # 20 of them at once, the others at 20 a second


@pytest.mark.slow
def test_32_at_a_time_are_20_times_as_fast_as_one():
    """Against a server that takes 200 ms; the client is warm, as in a run of thousands."""

    def seconds(source, number):
        started = time.perf_counter()
        assert sum(1 for _ in source.generate(requests(number), GREEDY)) == number
        return (time.perf_counter() - started) / number

    with TextServer(latency=0.2) as server:
        one, many = endpoint(server, concurrency=1), endpoint(server, concurrency=32)
        seconds(many, 32)
        assert seconds(one, 5) / seconds(many, 320) > 20
