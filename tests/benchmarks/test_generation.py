"""Both sides of the comparison generate the same number of tokens."""

import re

from benchmarks import generation
from legorec.texts import GenerationParameters
from legorec.texts.local import LocalTextGenerator
from tests.support.causal import byte_level, fast, speaking


def test_both_loops_generate_as_much():
    source = LocalTextGenerator(speaking(), fast(byte_level()), token_budget=300)
    requests, parameters = generation.prompts(12), GenerationParameters(max_tokens=8)
    assert len({len(request.messages[0].content) for request in requests}) > 6
    expected = generation.bare(source.model, source.tokenizer, requests, parameters, 300)
    assert generation.ours(source, requests, parameters) == expected > 12


def test_the_ratio_is_printed(tmp_path, monkeypatch, capsys):
    speaking().save_pretrained(tmp_path)
    fast(byte_level()).save_pretrained(tmp_path)
    options = ["--checkpoint", str(tmp_path), "--prompts", "3", "--max_tokens", "2", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", ["generation", *options])
    generation.main()
    assert re.search(r"ratio +\d+\.\d\d$", capsys.readouterr().out)
