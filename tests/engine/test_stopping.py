"""A signal is a question between two batches; a second one ends the process."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from legorec.engine import stopping
from legorec.engine.stopping import Interrupted, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_handlers_come_back(number, capfd):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        stop.check()
        assert not stop and stop.signal is None
        signal.raise_signal(number)
        assert stop and stop.signal == number
    with pytest.raises(Interrupted, match=f"by signal {int(number)}$") as caught:
        stop.check()
    assert caught.value.exit_status == 128 + number
    assert capfd.readouterr().err == "stopping at the next safe place; once more to stop at once\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_patience_ends_with_the_parting_line(monkeypatch):
    left = []
    monkeypatch.setattr(stopping, "leave", lambda *given: left.append(given))
    with StopRequest(patience=0.01, parting="the rest is given up"):
        signal.raise_signal(signal.SIGINT)
        end = time.monotonic() + 10
        while not left and time.monotonic() < end:
            time.sleep(0.01)
    assert left[0] == (signal.SIGINT, "the rest is given up")


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="broken"), StopRequest():
        raise RuntimeError("broken")
    assert signal.getsignal(signal.SIGINT) == before


def test_outside_the_main_thread_nothing_is_caught():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopRequest() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False] and signal.getsignal(signal.SIGINT) == before


WAITING = """
import time
from legorec.engine import stopping
from legorec.engine.stopping import StopRequest
with StopRequest() as stop:
    print("ready", flush=True)
    while not stop:
        time.sleep(0.005)
    print("asked", flush=True)
    time.sleep(30)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(second):
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        start = time.monotonic()
        process.send_signal(second)
        assert process.wait(10) == 128 + second and time.monotonic() - start < 5
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
