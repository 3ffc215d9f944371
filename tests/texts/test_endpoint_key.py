"""A key is sent to the server, and appears nowhere else."""

import io
import logging
import subprocess
import sys

import pytest

from tests.support.endpoints import CANARY, GREEDY, endpoint, outcome, requests
from tests.support.text_server import Reply, TextServer


def test_the_key_appears_nowhere(monkeypatch):
    """Not in the library's log, nor in an error that the server builds from it."""
    monkeypatch.setenv("LEGOREC_CANARY", CANARY)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    said = []
    try:
        for reply in (Reply(status=400), Reply(status=401), Reply(status=404), Reply(status=500)):
            error = {"message": f"Incorrect API key provided: {CANARY}", "code": CANARY}
            again = Reply(status=reply.status, error=error)
            with TextServer(lambda asked, again=again: again) as server:
                source = endpoint(server, key_env="LEGOREC_CANARY", retries=0)
                said += [repr(source), repr(vars(source)), repr(source.identity)]
                try:
                    said += [each.reason for each in source.generate(requests(), GREEDY)]
                except ValueError as caught:
                    said += [repr(caught), str(caught), repr(caught.__context__), repr(caught.__cause__)]
            assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(before)
    assert "HTTP Request" in log.getvalue() and any("<masked>" in each for each in said)
    assert CANARY not in log.getvalue() + "".join(said)


@pytest.mark.parametrize("tail", ["\n", " \t"])
def test_blanks_around_a_key_are_no_part_of_it(tail, monkeypatch):
    monkeypatch.setenv("LEGOREC_CANARY", CANARY + tail)
    with TextServer() as server:
        outcome(server, key_env="LEGOREC_CANARY")
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("inside", ["\n", " ", "\u00e9"])
def test_a_key_that_no_header_may_hold_is_refused_unseen(inside, monkeypatch):
    monkeypatch.setenv("LEGOREC_CANARY", CANARY + inside + "x")
    with TextServer() as server, pytest.raises(ValueError, match="the key in LEGOREC_CANARY holds") as caught:
        outcome(server, key_env="LEGOREC_CANARY")
    assert CANARY not in str(caught.value) and not server.asked


def test_an_endpoint_needs_no_torch():
    program = (
        "import sys\nfrom legorec.texts import *\nfrom legorec.texts.endpoint import EndpointTextGenerator\n"
        "from tests.support.text_server import TextServer\n"
        "with TextServer() as server:\n"
        "    source = EndpointTextGenerator(server.url, 'small', key_env=None)\n"
        "    request = TextRequest('a', (Message('user', 'b'),))\n"
        "    assert list(source.generate([request], GenerationParameters(max_tokens=3)))[0].texts\n"
        "print('torch' in sys.modules, 'openai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
