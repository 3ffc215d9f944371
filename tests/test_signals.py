"""A watch hears signals at once, in a thread of its own."""

import os
import signal
import socket
import threading
import time

import pytest

from legorec.signals import STOPS, Watch


@pytest.fixture
def told():
    return []


@pytest.fixture
def hear(told):
    return lambda number, again: told.append((number, again))


def test_each_signal_is_told_once(told, hear):
    caught = []
    with Watch(hear, caught.append):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert told == [(signal.SIGTERM, False), (signal.SIGINT, True)]
    assert caught == [signal.SIGTERM, signal.SIGINT]


def test_it_is_told_while_the_main_thread_is_in_a_call(told, hear):
    """Here a lock that is let go by the thread that listens."""
    gate = threading.Lock()
    gate.acquire()
    with Watch(lambda number, again: gate.release()):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert gate.acquire(timeout=30)


def test_one_that_is_not_followed_is_told_again(told, hear):
    with Watch(hear, patience=0.05):
        time.sleep(0.2)
        assert told == []
        signal.raise_signal(signal.SIGINT)
        limit = time.monotonic() + 30
        while len(told) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
    assert told[:3] == [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGINT, True)]


def test_what_the_handler_raises_comes_out_and_all_is_put_back(hear):
    def refuse(number: int) -> None:
        raise KeyError(number)

    before = [signal.getsignal(number) for number in STOPS]
    with pytest.raises(KeyError), Watch(hear, refuse):
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in STOPS] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert "signals" not in [thread.name for thread in threading.enumerate()]


def test_an_inner_watch_takes_over_and_gives_back(told, hear):
    inner = []
    with Watch(hear):
        with Watch(lambda number, again: inner.append(number)):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert inner == [signal.SIGINT] and told == [(signal.SIGTERM, False)]


def test_other_signals_are_not_its_business(told, hear):
    ear, mouth = socket.socketpair()
    before = signal.signal(signal.SIGUSR1, lambda *_: mouth.send(b"x"))
    try:
        with Watch(hear):
            signal.raise_signal(signal.SIGUSR1)
            assert ear.recv(1) == b"x"
    finally:
        signal.signal(signal.SIGUSR1, before)
        ear.close()
        mouth.close()
    assert told == []


def test_outside_the_main_thread_it_does_nothing(hear):
    before, seen = [signal.getsignal(number) for number in STOPS], []

    def work() -> None:
        with Watch(hear):
            seen.append([signal.getsignal(number) for number in STOPS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
