import re

import pytest
from pydantic import TypeAdapter, ValidationError

from legorec.compose import Composition
from legorec.settings.checks import checked
from legorec.settings.generators import EndpointSettings, GenerationSettings, GeneratorSettings
from legorec.settings.values import Strict
from legorec.texts.dialects import DIALECTS

URL = "http://localhost:8000/v1"
PASSWORD = "canary-password"


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        ({"kind": "endpoint", "base_url": URL, "model": "a"}, "EndpointSettings"),
        ({"kind": "local", "checkpoint": "weights/a", "end_tokens": ["</s>"]}, "LocalModelSettings"),
        (
            {"kind": "replay", "log": "a.jsonl", "of": {"kind": "endpoint", "base_url": URL, "model": "a"}},
            "ReplaySettings",
        ),
    ],
)
def test_kinds_are_told_apart(tree, kind):
    adapter = TypeAdapter(GeneratorSettings)
    found = adapter.validate_python(tree)
    assert type(found).__name__ == kind
    assert adapter.validate_python(found.model_dump()) == found


@pytest.mark.parametrize("tree", [{"kind": "remote"}, {}, {"kind": "local", "checkpoint": "a", "model": "b"}])
def test_others_are_refused(tree):
    with pytest.raises(ValidationError):
        TypeAdapter(GeneratorSettings).validate_python(tree)


def test_every_server_can_be_named():
    for server in DIALECTS:
        assert EndpointSettings(base_url=URL, model="a", server=server).server == server


class Block(Strict):
    generator: EndpointSettings
    generation: GenerationSettings = GenerationSettings()


def problems(**given):
    composition = Composition()
    tree = {"generator": {"base_url": URL, "model": "a", **given.pop("generator", {})}, "generation": given}
    assert checked(Block, tree, "exp", composition) is None
    (problem,) = composition.problems
    return f"{problem.place}: {problem.message}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"generator": {"server": "vlm"}},
            "exp.generator.server: must be 'plain', .* got 'vlm'.*did you mean 'vllm'",
        ),
        (
            {"generator": {"base_url": "localhost"}},
            "base_url: .* must be like .*, got 'localhost'$",
        ),
        ({"generator": {"modle": "b"}}, "exp.generator.modle: there is no such setting"),
        (
            {"generator": {"server": "ollama", "log_probabilities": True}},
            "exp.generator: `log_probabilities` must be false with `server: ollama`, which does not have it$",
        ),
        ({"temperature": -1.0}, "exp.generation.temperature: must be at least 0, got -1.0"),
        ({"num_texts": 2}, "exp.generation: `num_texts` is 2, but at `temperature` 0"),
    ],
)
def test_a_wrong_setting_is_one_line(given, message):
    assert re.search(message, problems(**given))


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{PASSWORD}@host/v1",
        f"ftp://me:{PASSWORD}@host",
        f"http://host/v1?key={PASSWORD}",
        f"//{PASSWORD}@",
    ],
)
def test_a_password_in_a_url_is_refused_unseen(url):
    assert PASSWORD not in problems(generator={"base_url": url})
    with pytest.raises(ValidationError) as caught:
        EndpointSettings(base_url=url, model="a")
    assert PASSWORD not in str(caught.value)
