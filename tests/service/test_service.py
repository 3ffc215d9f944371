"""The service: answers of the recommender, refusals that name a field, and an end that loses no answer."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import legorec
from legorec.service.answers import Answers
from legorec.service.gathering import Closed, Gathering
from legorec.service.http import Service
from legorec.service.requests import Limits
from tests.recipes.test_recommending_many import some_histories
from tests.support.runs import ROOT, arguments, finish, write_store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    return finish(arguments(write_store(folder / "store"), folder / "runs", epoch=1))


@pytest.fixture(scope="module")
def trained(run: Path) -> Any:
    return legorec.load(run, device="cpu")


def serving(trained: Any, **how: Any) -> Iterator[Service]:
    service = Service(Answers(trained, Limits(body=5000, k=50, many=40)), ("127.0.0.1", 0), **how)
    thread = threading.Thread(target=service.serve_forever, args=(0.02,))
    thread.start()
    yield service
    service.stop()
    thread.join()


@pytest.fixture(scope="module")
def service(trained: Any) -> Iterator[Service]:
    yield from serving(trained)


def ask(service: Service, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", service.server_port, timeout=30)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def listed(found: Any) -> list[dict[str, Any]]:
    return [{"item": each.item, "score": pytest.approx(each.score, abs=1e-6)} for each in found]


def test_it_answers_as_the_recommender(service: Service, trained: Any) -> None:
    status, found = ask(service, "GET", "/health")
    assert status == 200 and found["status"] == "ok" and found["items"] == 60 and found["model"] == "NRMS"
    status, found = ask(service, "POST", "/recommend", {"history": ["i3", {"title": "w1"}], "k": 4})
    assert (status, found) == (
        200,
        {"by": "model", "items": listed(trained.recommend(["i3", {"title": "w1"}], 4))},
    )
    how = {"k": 50, "exclude": ["i1"], "filter": {"category": "c1"}, "include_history": True}
    histories = some_histories(9)
    status, found = ask(service, "POST", "/recommend", {"histories": histories, **how})
    wanted = trained.recommend(histories, **how)
    assert status == 200 and found == {"results": [{"by": each.by, "items": listed(each)} for each in wanted]}
    body = {"history": ["i3"], "candidates": ["i4", {"title": "w2"}]}
    status, found = ask(service, "POST", "/score", body)
    assert found["scores"] == pytest.approx(trained.score(*body.values()).tolist(), abs=1e-6)
    status, found = ask(service, "POST", "/similar", {"items": ["i3"], "k": 3})
    assert found == {"results": [{"items": listed(trained.similar_items("i3", 3))}]}
    status, found = ask(service, "POST", "/recommend", {"history": ["i3", "x"], "unknown": "skip"})
    assert status == 200 and found["skipped"] == 1


def test_many_clients_get_their_own_answers(service: Service, trained: Any) -> None:
    histories = some_histories(60)

    def one(history: list[str]) -> Any:
        return ask(service, "POST", "/recommend", {"history": history, "k": 3})[1]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, histories))
    assert found == [{"by": each.by, "items": listed(each)} for each in trained.recommend(histories, 3)]


@pytest.mark.parametrize(
    ("path", "body", "status", "field", "message"),
    [
        ("/recommend", {}, 400, "history", "the body needs 'history' or 'histories'; it is not there"),
        ("/recommend", {"history": [], "histories": [[]]}, 400, "histories", "both are there"),
        ("/recommend", {"history": "i1"}, 400, "history", "'history' must be a list of items, got \"i1\""),
        ("/recommend", {"history": [3]}, 400, "history", "is a raw id .* or an object of fields"),
        ("/recommend", {"history": ["x"]}, 400, "history", "1 of 1 items are not in the store, first 'x'"),
        ("/recommend", {"history": [], "k": 51}, 400, "k", "from 1 to 50, got 51"),
        ("/recommend", {"history": [], "k": True}, 400, "k", "from 1 to 50, got true"),
        ("/recommend", {"history": [], "kk": 1}, 400, "kk", "the field 'kk' is not known; did you mean 'k'"),
        ("/recommend", {"history": [], "user": 3}, 400, "user", "'user' must be a text, got 3"),
        ("/recommend", {"history": [], "items": ["x"]}, 400, "items", "1 items that are not known"),
        ("/recommend", {"history": [], "items": [{}]}, 400, "items", "must be a list of raw ids"),
        ("/recommend", {"history": [], "filter": {"category": 1}}, 400, "filter", "a list of them"),
        ("/recommend", {"history": [], "filter": {"cat": "c1"}}, 400, "filter", "no field of the items here"),
        ("/recommend", {"history": [], "include_history": 1}, 400, "include_history", "true or false"),
        ("/recommend", {"history": [], "unknown": "x"}, 400, "unknown", "must be 'error' or 'skip'"),
        ("/recommend", {"histories": [[]] * 41}, 413, "histories", "may hold 40 at most, got 41"),
        ("/recommend", {"histories": [[]], "users": []}, 200, None, ""),
        ("/recommend", {"histories": [[]], "users": ["a", "b"]}, 400, "users", "one for each of 1 histories"),
        ("/score", {"history": []}, 400, "candidates", "needs 'candidates'"),
        ("/score", {"history": [], "candidates": []}, 400, "candidates", "a list that is not empty"),
        ("/similar", {"items": ["i1"], "by": "x"}, 400, "by", "'cosine' or 'product', got 'x'"),
        ("/similar", {"items": [{"titel": "x"}]}, 400, "items", "a new item has the field 'titel'"),
        ("/recommend", [1], 400, None, "the body must be a JSON object, got a list"),
        ("/recommend", b"{", 400, None, "the body is no JSON"),
        ("/recommend", b"\xff", 400, None, "the body is no JSON"),
        ("/recommend", b'{"k": NaN}', 400, None, "NaN is no number of JSON"),
        ("/recommend", b"[" * 4000, 400, None, "the body is no JSON"),
        ("/recommend", b" " * 5001, 413, None, "a body may have 5,000 bytes at most"),
        ("/nowhere", {}, 404, None, "there is no /nowhere here; there are GET /health, POST /items"),
        ("/health", {}, 405, None, "/health takes GET, not POST"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    service: Service, path: str, body: Any, status: int, field: str | None, message: str
) -> None:
    found, answer = ask(service, "POST", path, body)
    assert found == status and answer.get("field") == field
    assert re.search(message, answer.get("error", "")), answer
    assert ask(service, "GET", "/health")[0] == 200


def raw(service: Service, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.server_port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /recommend HTTP/1.1\r\nHost: a\r\n\r\n", b"411"),
        (b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"BREW /recommend HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"DELETE /items HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_requests_that_are_no_http_are_told_so_in_json(
    service: Service, request_: bytes, status: bytes
) -> None:
    head, _, body = raw(service, request_).partition(b"\r\n\r\n")
    if head.startswith(b"HTTP"):  # a line that is none is answered as HTTP/0.9 has it, by the body alone
        assert head.split()[1] == status
    assert b"error" in head + body and b"Traceback" not in body


def test_a_failure_tells_the_client_nothing_of_the_program(
    service: Service, trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fails(*given: Any, **how: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(type(trained), "recommend", fails)
    assert ask(service, "POST", "/recommend", {"history": []}) == (
        500,
        {"error": "the service failed; its log says how"},
    )
    assert "secret" in capsys.readouterr().err


def test_new_items_are_handed_on(trained: Any) -> None:
    given: list[Any] = []

    def add_items(columns: Any, item_id: str) -> None:
        given.append((columns, item_id))

    answers = Answers(SimpleNamespace(data=trained.data, num_items=61, add_items=add_items))
    rows = [{"item": "n1", "title": "w1"}, {"item": "n2"}]
    assert answers.add_items({"items": rows}) == {"added": 2, "items": 61}
    assert given == [({"item": ["n1", "n2"], "title": ["w1", None]}, "item")]
    answers.close()


def test_too_many_connections_are_told_so(trained: Any) -> None:
    for service in serving(trained, connections=1):
        with socket.create_connection(("127.0.0.1", service.server_port)) as first:
            first.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert first.recv(9) == b"HTTP/1.1 "
            assert b" 503 " in raw(service, b"")


def test_what_waits_together_is_answered_together_and_errors_are_told_to_their_own() -> None:
    gate, sizes = threading.Event(), []

    def answer(key: Any, questions: Any) -> list[Any]:
        if key == "first":
            gate.wait(10)
        sizes.append(len(questions))
        return [1 // each for each in questions]

    gathering = Gathering(answer)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gathering.ask, "first", 1)
        others = [pool.submit(gathering.ask, "rest", each) for each in (1, 0, 1)]
        while len(gathering._queue) < 3:
            pass
        gate.set()
        assert first.result() == 1 and others[0].result() == others[2].result() == 1
        with pytest.raises(ZeroDivisionError):
            others[1].result()
    assert sizes[:2] == [1, 3]
    gathering.close()
    with pytest.raises(Closed):
        gathering.ask("rest", 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(run: Path, number: int) -> None:
    command = [sys.executable, "-m", "legorec", "serve", str(run), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        port = int(line.split(" ")[0].rpartition(":")[2])
        there = SimpleNamespace(server_port=port)
        assert ask(there, "GET", "/health")[0] == 200  # type: ignore[arg-type]
        idle = socket.create_connection(("127.0.0.1", port))
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stdout.read() == "stopped\n" and process.stderr.read() == ""
        idle.close()
