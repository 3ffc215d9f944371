"""A run that asks for texts, from its command line: what it says, leaves, and does with what is there."""

from __future__ import annotations

import json
import re

import pytest

import worker
from legorec.engine import progress
from legorec.texts.log_lines import read_answers
from tests.support.causal import byte_level, fast, speaking
from tests.support.generations import command, report, written
from tests.support.runs import ROOT, refused, write_store
from tests.support.text_server import Reply, TextServer


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A store of few items, some with the same title and category, that no test may change."""
    return write_store(tmp_path_factory.mktemp("few") / "store", num_items=12)


@pytest.fixture(scope="module")
def prompts(few, tmp_path_factory):
    """How many prompts of it differ."""
    folder = tmp_path_factory.mktemp("prompts")
    with TextServer(answer=written) as server:
        assert worker.main(command(few, folder, server.url)) == 0
        return len({each.prompt for each in server.asked})


def test_a_run_leaves_a_log_its_settings_and_a_report_and_the_next_asks_nothing(
    few, tmp_path, capsys, prompts
):
    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url, budget__prices={"prompt": 1e6, "completion": 2e6})
        assert worker.main(argv) == 0
        asked = len(server.asked)
        assert worker.main(argv) == 0
        saved = ["--settings", str(tmp_path / "answers.settings.yaml")]
        assert worker.main(saved) == 0
    assert asked == len(server.asked) == prompts <= 12
    answers = list(read_answers(tmp_path / "answers.jsonl"))
    assert {each.id for each in answers} == {f"i{number}" for number in range(12)}
    assert sum(not each.shared for each in answers) == prompts
    assert {each.template for each in answers} == {report(tmp_path)["template"]}
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {"answers.jsonl", "answers.settings.yaml", "answers.report.json"}
    found = report(tmp_path)
    assert (found["requests"], found["usable"], found["found"], found["asked"]) == (12, 12, 12, 0)
    assert (found["left"], found["money"], found["failed"], found["stopped"]) == (0, 0.0, {}, None)
    out, err = capsys.readouterr()
    assert err == "" and "\x1b" not in out
    assert f"12 prompts, 0 answered in {tmp_path}/answers.jsonl, 12 to ask" in out
    assert re.search(r"at most 360 of answers, at most [\d,.]+ at the given prices", out)
    assert re.search(
        rf"12 of 12 answered, {12 - prompts} of them from the log; {prompts} asked, \d+ tokens", out
    )
    assert "12 answered in" in out and out.count("12 of 12 answered, 12 of them from the log; 0 asked") == 2


def test_a_run_whose_answers_are_all_there_makes_no_generator(few, tmp_path, monkeypatch):
    def fails(*given):
        raise AssertionError("a model would be loaded")

    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url)
        assert worker.main(argv) == 0
        monkeypatch.setattr("legorec.recipes.generate.generator_of", fails)
        assert worker.main(argv) == 0 and report(tmp_path)["usable"] == 12


def test_a_dry_run_says_what_would_be_asked_and_writes_nothing(few, tmp_path, capsys):
    argv = command(few, tmp_path, "http://127.0.0.1:9/v1", budget__prices={"prompt": 1.0, "completion": 2.0})
    before = sorted(tmp_path.iterdir())
    assert worker.main([*argv, "--dry_run", "true"]) == 0
    out, err = capsys.readouterr()
    assert "exp.generate.scheme.name" in out and err == ""
    assert re.search(
        r"titles@\w{8}: 12 prompts, 0 answered in .*, 12 to ask\nto ask: \d+ tokens of prompts", out
    )
    assert sorted(tmp_path.iterdir()) == before
    argv[argv.index("--data.store") + 1] = str(tmp_path / "none")
    refused([*argv, "--dry_run", "true"], capsys, str(tmp_path / "none"))


def test_a_model_is_neither_needed_nor_taken(few, tmp_path, capsys):
    argv = command(few, tmp_path, "http://127.0.0.1:9/v1")
    model = ["--model", f"{ROOT}/config/model/lego_naml.yaml"]
    refused(
        [*argv, *model],
        capsys,
        "1 problem",
        "--model: is not read where exp.mode is 'generate'; leave it out",
    )
    refused([*argv, "--exp.mode", "train"], capsys, "--model: is required: the YAML file of the model layer")
    refused([*argv[:-2], "--exp.mode", "cache"], capsys, "--model: is required")
    data = argv[:2]
    refused([*argv[len(data) :]], capsys, "--data: is required")


def test_an_answer_of_no_use_is_asked_again_with_another_seed(few, tmp_path, prompts):
    seeds: list[int | None] = []

    def script(asked):
        seeds.append(asked.body.get("seed"))
        return Reply(texts=("nothing of the kind",) if seeds[-1] in (None, 3) else None)

    changes = {"attempts": 2, "parameters__temperature": 1.0, "parameters__seed": 3}
    with TextServer(script, written) as server:
        assert worker.main(command(few, tmp_path, server.url, **changes)) == 0
    assert sorted(seeds) == [3] * prompts + [4] * prompts
    assert report(tmp_path)["usable"] == 12 and report(tmp_path)["asked"] == 2 * prompts


def test_a_run_ends_at_its_budget_and_the_next_goes_on(few, tmp_path, capsys, prompts):
    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url, budget__requests=5)
        assert worker.main(argv) == 0
        assert len(server.asked) == 5 and report(tmp_path)["stopped"] == "the budget is 5 requests"
        left = report(tmp_path)["left"]
        said = f"stopped, the budget is 5 requests: {left} are left; the same command goes on with them"
        assert said in capsys.readouterr().out
        while report(tmp_path)["left"]:
            assert worker.main(argv) == 0
    assert len(server.asked) == prompts


def test_another_prompt_version_matches_nothing_and_that_is_said(few, tmp_path, capsys, prompts):
    with TextServer(answer=written) as server:
        assert worker.main(command(few, tmp_path, server.url)) == 0
        changed = command(few, tmp_path, server.url, scheme__system="Other words.", budget__requests=1)
        capsys.readouterr()
        assert worker.main(changed) == 0
    out = capsys.readouterr().out
    assert (
        f"answers.jsonl holds {prompts} other answers: of another generator, other parameters, or other"
        in out
    )
    assert "none is to these prompts" in out and report(tmp_path)["others"] == prompts


def test_as_many_are_under_way_as_were_asked_for(few, tmp_path):
    with TextServer(answer=written, latency=0.3) as server:
        assert worker.main(command(few, tmp_path, server.url, generator__concurrency=8)) == 0
    assert server.most_at_once == 8


def test_a_recorded_log_is_a_generator_too(few, tmp_path, capsys):
    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url)
        assert worker.main(argv) == 0
        of = {"kind": "endpoint", "base_url": server.url, "model": "small"}
    replay = {"kind": "replay", "log": str(tmp_path / "answers.jsonl"), "of": of}
    assert worker.main(command(few, tmp_path / "again", "http://x/v1", generator=replay)) == 0
    texts = [
        {each.id: each.texts for each in read_answers(folder / "answers.jsonl")}
        for folder in (tmp_path, tmp_path / "again")
    ]
    assert texts[0] == texts[1] and len(texts[0]) == 12
    missing = replay | {"log": str(tmp_path / "none.jsonl")}
    refused(command(few, tmp_path, "http://x/v1", generator=missing), capsys, "no file", "none.jsonl")


def test_a_line_tells_rate_and_cost_on_the_way(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with TextServer(answer=written) as server:
        argv = command(few, tmp_path, server.url, budget__prices={"prompt": 1.0, "completion": 2.0})
        assert worker.main([*argv, "--exp.generate.generator.concurrency", "1"]) == 0
    line = r"generate: \d+ of 12, [\d,.]+ a second, \d+ tokens, \d\.\d{4} spent, about \d+ s left"
    assert len(re.findall(line, capsys.readouterr().out)) > 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"attempts": 2},
            "at `parameters.temperature` 0 the same answer would come again; set a temperature",
        ),
        ({"attempts": 0}, "exp.generate.attempts: must be at least 1, got 0"),
        (
            {"budget__money": 2.0},
            "`money` needs `prices`, as in {prompt: 0.15, completion: 0.6} a million tokens",
        ),
        ({"budget__prices": {"prompt": -1.0, "completion": 1.0}}, "budget.prices.prompt: must be at least 0"),
        ({"budget__token": 2}, "did you mean 'tokens'?"),
        ({"log": "answers.txt"}, "exp.generate.log: "),
        ({"scheme__user": "{nothing:3}"}, "have no field 'nothing', which a prompt names"),
    ],
)
def test_settings_that_are_wrong_are_told(few, tmp_path, capsys, changes, told):
    refused(command(few, tmp_path, "http://127.0.0.1:9/v1", **changes), capsys, told)


def test_the_mode_needs_its_block(few, tmp_path, capsys):
    (tmp_path / "exp.yaml").write_text("name: x\nmode: generate\n")
    data = command(few, tmp_path, "http://127.0.0.1:9/v1")[:4]
    refused([*data, "--exp", str(tmp_path / "exp.yaml")], capsys, "exp.generate: is needed where exp.mode is")


def test_what_wants_no_model_has_none_in_its_settings(few, tmp_path):
    with TextServer(answer=written) as server:
        assert worker.main(command(few, tmp_path, server.url)) == 0
    text = (tmp_path / "answers.settings.yaml").read_text()
    assert "\nmodel:" not in text and "\nembed:" not in text and "\nexp:" in text
    assert json.loads((tmp_path / "answers.report.json").read_text())["generator"]["model"] == "small"


def test_a_local_model_is_asked_and_a_second_run_does_not_load_it(few, tmp_path, monkeypatch):
    speaking().save_pretrained(tmp_path / "model")
    fast(byte_level()).save_pretrained(tmp_path / "model")
    local = {"kind": "local", "checkpoint": str(tmp_path / "model"), "chat": "plain"}
    argv = command(few, tmp_path, "http://x/v1", generator=local, parameters={"max_tokens": 4})
    assert worker.main(argv) == 0
    found = report(tmp_path)
    assert found["left"] == 0 and found["asked"] == found["answers"] == found["answered"]
    assert found["generator"]["kind"] == "local" and found["estimated"] == 0
    assert found["tokens"]["prompt"] > 0 and 0 < found["tokens"]["completion"] <= 4 * found["asked"]
    monkeypatch.setattr("legorec.texts.local.load_causal", None)
    assert worker.main(argv) == 0 and report(tmp_path)["asked"] == 0
