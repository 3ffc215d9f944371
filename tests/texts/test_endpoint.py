"""An endpoint is asked as often as it takes, and what it cannot give is said."""

import json
import re

import pytest

from legorec.texts import AnswerFormat, GenerationParameters, Message, TextAnswer, TextFailure, TextRequest
from legorec.texts.endpoint import EndpointTextGenerator
from tests.support.endpoints import CANARY, GREEDY, endpoint, outcome, requests
from tests.support.text_server import Reply, TextServer


def test_a_chat_is_asked_and_its_text_counted():
    with TextServer() as server:
        found = outcome(server)
    assert isinstance(found, TextAnswer) and found.request.id == "r0"
    (text,) = found.texts
    assert text.text == "answer to prompt 0" and text.finished and text.log_probability is None
    assert (found.prompt_tokens, found.completion_tokens, text.num_tokens) == (2, 4, 4)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        **{"model": "small", "messages": [{"role": "user", "content": "prompt 0"}]},
        **{"max_tokens": 8, "temperature": 0.0, "top_p": 1.0},
    }


def test_plain_completions_join_the_messages():
    request = TextRequest("a", (Message("system", "Be short."), Message("user", "What?")))
    with TextServer() as server:
        found = outcome(server, asked=[request], api="completions", log_probabilities=True)
    assert server.asked[0].path == "/v1/completions"
    assert server.asked[0].body["prompt"] == "Be short.\n\nWhat?"
    assert found.texts[0].log_probability == -0.5 * 5 and found.texts[0].num_tokens == 5


def test_every_parameter_is_sent():
    sampled = GenerationParameters(max_tokens=4, temperature=0.7, top_p=0.9, stop=("\n", "END"), seed=5)
    with TextServer() as server:
        outcome(server, sampled, log_probabilities=True, extra_body={"user": "me"})
    body = server.asked[0].body
    assert {name: body[name] for name in ("temperature", "top_p", "stop", "seed", "logprobs", "user")} == {
        **{"temperature": 0.7, "top_p": 0.9, "stop": ["\n", "END"]},
        **{"seed": 5, "logprobs": True, "user": "me"},
    }


def test_a_text_cut_at_the_limit_is_not_finished():
    with TextServer([Reply(finish="length")]) as server:
        assert not outcome(server).texts[0].finished


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("kind", ["plain", "ollama"])
def test_several_texts_come_from_one_request_or_from_several(many, kind):
    sampled = GenerationParameters(max_tokens=4, temperature=0.7, num_texts=3, seed=5)
    with TextServer(many=many) as server:
        found = outcome(server, sampled, server=kind)
    assert len(found.texts) == 3 and found.completion_tokens == 12
    seeds = [asked.body["seed"] for asked in server.asked]
    assert seeds == ([5] if many and kind == "plain" else [5, 6, 7])


@pytest.mark.parametrize(
    "bad",
    [
        Reply(status=429),
        Reply(status=500),
        Reply(status=503),
        *[Reply(fault=fault) for fault in ("hang", "broken", "half", "truncated", "not json")],
        Reply(texts=("",)),
        Reply(texts=(None,)),
        Reply(body={"choices": []}),
        Reply(body=[1]),
        Reply(body={"choices": [7]}),
        Reply(body={"choices": [{"message": {"content": 3}}]}),
    ],
    ids=lambda reply: str(reply.fault or reply.status),
)
def test_what_may_pass_is_asked_again(bad):
    with TextServer([bad, bad, Reply()]) as server:
        found = outcome(server, read_timeout=0.1)
    assert isinstance(found, TextAnswer) and len(server.asked) == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Reply(status=429), "status 429: status 429, 3 times"),
        (Reply(status=500, error={"message": "out of\nmemory"}), "status 500: out of memory, 3 times"),
        (Reply(fault="hang"), "no answer within 0.1 s, 3 times"),
        (Reply(fault="half"), "the connection failed: peer closed connection"),
        (Reply(fault="truncated"), "the reply is no JSON, 3 times"),
        (
            Reply(texts=("  ",), finish="content_filter"),
            r"is empty \(finish_reason: content_filter\), 3 times",
        ),
        (Reply(status=400, error={"message": "too long"}), "^status 400: too long$"),
        (Reply(status=422), "^status 422"),
    ],
)
def test_what_does_not_pass_is_a_failure_with_its_reason_and_the_rest_goes_on(bad, reason):
    def reply(asked):
        return bad if asked.prompt == "prompt 1" else Reply()

    with TextServer(reply) as server:
        found = {
            each.request.id: each for each in endpoint(server, read_timeout=0.1).generate(requests(3), GREEDY)
        }
    assert isinstance(found["r0"], TextAnswer) and isinstance(found["r2"], TextAnswer)
    failure = found["r1"]
    assert isinstance(failure, TextFailure)
    assert re.search(reason, failure.reason)


@pytest.mark.parametrize("server", ["plain", "openai", "ollama"])
@pytest.mark.parametrize("given", [{"top_k": 5}, {"repetition_penalty": 1.1}])
def test_a_parameter_that_a_server_does_not_know_is_refused(server, given):
    parameters = GenerationParameters(max_tokens=4, temperature=1.0, **given)
    with (
        TextServer() as stub,
        pytest.raises(ValueError, match=f"must be .*{server}.* vllm"),
    ):
        outcome(stub, parameters, server=server)
    assert not stub.asked


@pytest.mark.parametrize("server", ["vllm", "llama.cpp", "transformers"])
def test_a_server_that_reads_a_checkpoints_defaults_is_told_all_of_them(server):
    with TextServer() as stub:
        outcome(stub, server=server)
    said = stub.asked[0].body
    said |= json.loads(said.get("generation_config", "{}"))
    assert said["top_k"] == 0 and said["top_p"] == 1.0
    assert said.get("repetition_penalty", said.get("repeat_penalty")) == 1.0
    assert said.get("min_p", 0.0) == 0.0 and said.get("do_sample", False) is False


def test_texts_that_came_before_a_failure_are_kept():
    sampled = GenerationParameters(max_tokens=4, temperature=1.0, num_texts=2)
    with TextServer([Reply(texts=("one",)), *[Reply(status=400)] * 5]) as server:
        found = outcome(server, sampled)
    assert isinstance(found, TextFailure) and [text.text for text in found.texts] == ["one"]


def test_retry_after_is_honoured():
    with TextServer([Reply(status=429, headers={"Retry-After": "0.5"}), Reply()]) as server:
        assert isinstance(outcome(server), TextAnswer)
    first, second = (asked.at for asked in server.asked)
    assert 0.5 <= second - first < 2


def test_others_wait_too_when_a_server_asks_for_it():
    def reply(asked):
        return Reply(status=429, headers={"Retry-After": "0.4"}) if len(server.asked) == 1 else Reply()

    with TextServer(reply) as server:
        assert len(list(endpoint(server, concurrency=1).generate(requests(3), GREEDY))) == 3
    assert server.asked[1].at - server.asked[0].at >= 0.4


def test_a_wait_that_is_too_long_is_given_up():
    with TextServer([Reply(status=429, headers={"Retry-After": "3600"})]) as server:
        found = outcome(server)
    assert "status 429: the server asks to wait longer than `longest_wait` (600 s)" in found.reason


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(status=401), r"refuses requests without a key: `key_env` names none \(401\)"),
        (Reply(status=403), r"refuses requests without a key"),
        (
            Reply(status=404, error={"message": "no such model"}),
            "does not have its model or the path .*no such model.*'small'",
        ),
        (Reply(status=400, error={"code": "model_not_found"}), "does not have its model.*'small'"),
        (Reply(status=429, error={"code": "insufficient_quota"}), "has no more quota"),
    ],
)
def test_where_nothing_can_be_asked_there_is_one_error_at_once(reply, message):
    with TextServer(lambda asked: reply) as server, pytest.raises(ValueError, match=message):
        list(endpoint(server, concurrency=2).generate(requests(50), GREEDY))
    assert len(server.asked) <= 4


def test_a_server_that_refuses_the_first_three_for_one_reason_is_asked_no_more():
    def reply(asked):
        return Reply(status=400, error={"message": "pinned to another model"})

    found = []
    with (
        TextServer(reply) as server,
        pytest.raises(ValueError, match="every request, 3 so far: .*pinned"),
    ):
        for each in endpoint(server, concurrency=1).generate(requests(50), GREEDY):
            found.append(each)
    assert len(server.asked) == len(found) == 3


def test_a_server_that_has_answered_may_refuse_any_number():
    def reply(asked):
        return Reply() if len(server.asked) == 1 else Reply(status=400)

    with TextServer(reply) as server:
        found = list(endpoint(server, concurrency=1).generate(requests(9), GREEDY))
    assert sum(isinstance(each, TextFailure) for each in found) == 8


def test_what_was_paid_for_comes_before_the_error():
    """The others under way are waited for."""

    def reply(asked):
        return Reply(status=401) if asked.prompt == "prompt 3" else Reply()

    found = []
    with TextServer(reply, latency=0.05) as server, pytest.raises(ValueError, match="401"):
        for each in endpoint(server, concurrency=4).generate(requests(50), GREEDY):
            found.append(each)
    answered = [asked for asked in server.asked if asked.prompt != "prompt 3"]
    assert len(found) == len(answered) >= 3


def test_nobody_at_the_address_is_one_error():
    with TextServer() as server:
        url = server.url
    source = EndpointTextGenerator(url, "small", key_env=None, retries=1)
    source.first_wait = 0.001
    with pytest.raises(ValueError, match=f"nothing answers at {url}: the connection failed"):
        list(source.generate(requests(9), GREEDY))


@pytest.mark.parametrize("structured", [True, False])
def test_a_format_goes_to_the_server_or_into_words(structured):
    form = AnswerFormat(choices=("yes", "no"))
    script = [Reply(texts=('{"answer": "yes"}' if structured else "yes",))]
    with TextServer(script) as server:
        found = outcome(server, asked=requests(format=form), structured=structured)
    assert found.texts[0].text == "yes"
    body = server.asked[0].body
    if structured:
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["answer"]["enum"] == ["yes", "no"]
        assert server.asked[0].prompt == "prompt 0"
    else:
        assert "response_format" not in body
        assert server.asked[0].prompt.endswith("nothing else:\n- yes\n- no")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base_url": "localhost:8000"}, "`base_url` must be like"),
        ({"base_url": "http://x:port/v1"}, "`base_url` must be like"),
        ({"base_url": f"http://me:{CANARY}@host/v1"}, "no user, password"),
        ({"base_url": f"http://host/v1?key={CANARY}"}, "no user, password"),
        ({"base_url": f"htp://me:{CANARY}@host/v1"}, "`base_url` must be like"),
        ({"server": "nobody"}, "`server` must be one of plain, "),
        ({"api": "edits"}, "`api` must be one of chat, completions"),
        ({"model": ""}, "`model` must name"),
        ({"concurrency": 0}, "`concurrency` must be at least 1"),
        ({"server": "ollama", "log_probabilities": True}, "`log_probabilities` must be false"),
        ({"server": "transformers", "structured": True}, "`structured` must be false"),
        ({"api": "completions", "structured": True}, "`structured` must be false with `api: completions`"),
    ],
)
def test_a_wrong_argument_is_refused(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        EndpointTextGenerator(**{"base_url": "http://127.0.0.1:1/v1", "model": "small", **given})
    assert CANARY not in str(caught.value)
