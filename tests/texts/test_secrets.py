"""A secret of the environment is masked wherever it stands."""

import pytest

from legorec.texts import GeneratedText
from legorec.texts.answer_log import AnswerLog
from legorec.texts.records import LoggedAnswer
from legorec.texts.secrets import secrets_of_environment, without


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "MY_TOKEN", "SOME_SECRET", "Db_Password", "API_KEYS"])
def test_r13_variables_that_are_called_like_secrets_are_known(monkeypatch, name):
    monkeypatch.setenv(name, "canary-4711")
    assert "canary-4711" in secrets_of_environment()
    said = without("a canary-4711, b canary-4711", secrets_of_environment())
    assert said == "a <masked>, b <masked>"


def test_other_variables_are_none(monkeypatch):
    monkeypatch.setenv("KEYBOARD", "canary-4711")
    monkeypatch.setenv("SHORT_KEY", "a")
    assert not {"canary-4711", "a"} & {*secrets_of_environment()}
    assert "canary-4711" in secrets_of_environment(["KEYBOARD"]), "but for those that are named"


def test_r13_a_log_holds_no_secret_that_a_server_has_said(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-4711")
    path = tmp_path / "log.jsonl"
    with AnswerLog(path) as log:
        log.append(LoggedAnswer("a", "t", (GeneratedText("you sent canary-4711"),), key="k"))
        log.append(LoggedAnswer("b", "t", failed="wrong key canary-4711", key="k2"))
    assert b"canary" not in path.read_bytes() and path.read_bytes().count(b"<masked>") == 2
