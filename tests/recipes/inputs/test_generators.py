import json
import subprocess
import sys

import pytest
import torch

from legorec.recipes.inputs.generators import generator_of, identity_of, parameters_of
from legorec.settings.generators import (
    EndpointSettings,
    GenerationSettings,
    LocalModelSettings,
    ReplaySettings,
)
from legorec.texts import GenerationParameters, Message, TextAnswer, TextGenerator, TextRequest
from tests.support.causal import byte_level, fast, speaking

CPU = torch.device("cpu")
ENDPOINT = EndpointSettings(base_url="http://127.0.0.1:1/v1", model="small")


def test_an_endpoint():
    found = generator_of(ENDPOINT, CPU)
    assert isinstance(found, TextGenerator) and found.identity == identity_of(ENDPOINT)
    json.dumps(found.identity)


def test_a_local_model(tmp_path):
    speaking().save_pretrained(tmp_path)
    fast(byte_level()).save_pretrained(tmp_path)
    settings = LocalModelSettings(checkpoint=str(tmp_path), chat="plain", token_budget=100)
    found = generator_of(settings, CPU)
    assert isinstance(found, TextGenerator) and found.identity == identity_of(settings)
    request = TextRequest("a", (Message("user", "what"),))
    (answer,) = found.generate([request], GenerationParameters(max_tokens=3))
    assert isinstance(answer, TextAnswer)


def test_a_replay_has_the_identity_of_what_it_replays():
    class Empty:
        def get(self, key):
            return None

    found = generator_of(ReplaySettings(log="answers.jsonl", of=ENDPOINT), CPU, Empty())
    assert isinstance(found, TextGenerator) and found.identity == identity_of(ENDPOINT)


@pytest.mark.parametrize(
    "given", [{}, {"max_tokens": 9, "temperature": 0.5, "seed": 3, "stop": ["a"], "num_texts": 2, "top_k": 4}]
)
def test_parameters_are_those_of_the_settings(given):
    found = parameters_of(GenerationSettings(**given))
    assert found == GenerationParameters(**{"max_tokens": 256, **given})


def test_a_program_that_asks_an_endpoint_imports_no_model():
    program = (
        "import sys\nfrom legorec.settings.generators import EndpointSettings\n"
        "EndpointSettings(base_url='http://localhost:1/v1', model='a')\n"
        "print([name for name in ('torch', 'openai', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
