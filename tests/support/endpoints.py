"""A source of texts that asks a scripted server."""

from legorec.texts import GenerationParameters, Message, TextRequest
from legorec.texts.endpoint import EndpointTextGenerator

GREEDY = GenerationParameters(max_tokens=8)
CANARY = "sk-canary-0123456789"


def requests(number=1, **given):
    return [TextRequest(f"r{each}", (Message("user", f"prompt {each}"),), **given) for each in range(number)]


def endpoint(stub, /, **given):
    source = EndpointTextGenerator(stub.url, "small", **{"key_env": None, "retries": 2, **given})
    source.first_wait = 0.001
    return source


def outcome(stub, /, parameters=GREEDY, asked=None, **given):
    (found,) = endpoint(stub, **given).generate(asked or requests(), parameters)
    return found
