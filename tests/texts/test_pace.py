from datetime import UTC, datetime

import pytest

from legorec.texts.pace import Pace, backoff, retry_after


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def send(pace, clock, times, tokens=1):
    """The times at which requests go out, each as soon as it may."""
    sent = []
    for _ in range(times):
        clock.now += pace.reserve(tokens)
        sent.append(clock.now - 100.0)
    return sent


def test_without_limits_nobody_waits():
    clock = Clock()
    assert send(Pace(now=clock), clock, 50, tokens=10**9) == [0.0] * 50


def test_requests_a_minute():
    clock = Clock()
    sent = send(Pace(120, now=clock), clock, 130)
    assert sent[0] == 0.0 and sent[-1] == pytest.approx(63.5)  # two a second, two at once at first
    assert all(sum(start <= other < start + 60 for other in sent) <= 122 for start in sent)


def test_tokens_a_minute_and_their_correction():
    clock = Clock()
    pace = Pace(None, 600, now=clock)
    pace.reserve(610)
    assert pace.reserve(10) == pytest.approx(60.0)
    pace.correct(300)
    assert pace.reserve(10) == pytest.approx(31.0)


def test_a_quiet_time_saves_up_no_more_than_a_second():
    clock = Clock()
    pace = Pace(60, now=clock)
    clock.now += 3600
    assert [pace.reserve(1) for _ in range(4)] == pytest.approx([0, 0, 1, 2])


def test_a_pause_holds_for_all_and_the_longest_counts():
    clock = Clock()
    pace = Pace(now=clock)
    pace.pause(5)
    pace.pause(2)
    clock.now += 3
    assert pace.paused() == 2
    clock.now += 3
    assert pace.paused() == 0


def test_waits_double_up_to_the_longest_and_half_of_each_is_chance():
    assert [backoff(each, 0.5, 3.0, lambda: 1.0) for each in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff(2, 0.5, 3.0, lambda: 0.0) == 1.0
    assert backoff(10_000, 0.5, 3.0, lambda: 1.0) == 3.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:47", 10.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert retry_after(header, datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)) == seconds
