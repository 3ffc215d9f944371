"""Stages: each is composed on its own, all of them before the first begins, and what is wrong is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.settings import SettingsError, Stage, describe, help_text, read_command_line, read_stages
from legorec.settings.resolved import run_path
from tests.support.config_files import EXP, arguments, write_files

STAGED = """\
$$import: parts/policy.yaml
name: shared
mode: train
metrics: [gauc]
stages:
- name: sft
  exp: exp.yaml
- name: rec
  exp: {name: second, policy: {batch_size: 32}}
  model: {item_encoder: {heads: 4}}
  flags: {lr: 1e-4}
- name: measure
  exp: [exp.yaml, {name: last, mode: test, load: "${stages.rec}"}]
"""


def staged(folder: Path, text: str = STAGED, *more: str, exp: str = "staged.yaml") -> list[str]:
    """A command line whose exp file has stages."""
    if not (folder / "exp.yaml").exists():
        write_files(folder)
    (folder / exp).write_text(text, encoding="utf-8")
    argv = arguments(folder, *more)
    argv[argv.index("--exp") + 1] = str(folder / exp)
    return argv


def stages_of(folder: Path, text: str = STAGED, *more: str) -> dict[str, Stage]:
    return {each.name: each for each in read_stages(staged(folder, text, *more))}


def problems_of(argv: list[str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_stages(argv)
    return [str(each) for each in caught.value.problems]


def test_a_file_replaces_a_layer_and_a_block_is_merged_over_it(tmp_path: Path) -> None:
    found = stages_of(tmp_path)
    assert list(found) == ["sft", "rec", "measure"]
    sft, rec, measure = (each.settings for each in found.values())
    assert (sft.exp.name, sft.exp.mode, sft.exp.metrics) == ("tt-NRMS", "train_test", ["gauc", "ndcg@10"])
    assert (rec.exp.name, rec.exp.mode, rec.exp.metrics) == ("second", "train", ["gauc"])
    assert (rec.exp.policy.batch_size, rec.exp.policy.lr, sft.exp.policy.lr) == (32, 1e-4, 1e-3)
    heads = [each.model.item_encoder.arguments["heads"] for each in (sft, rec, measure)]
    assert heads == [8, 4, 8]
    assert measure.exp.load == str(run_path(rec)) and not Path(measure.exp.load).exists()
    assert found["measure"].awaits == {"exp.load": ("rec", str(run_path(rec)))}
    assert found["measure"].missing() and not found["sft"].missing()


def test_every_value_knows_its_file_and_line(tmp_path: Path) -> None:
    told = describe(stages_of(tmp_path)["rec"].settings)
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert lines["exp.policy.batch_size"].endswith("staged.yaml:9")
    assert lines["model.item_encoder.heads"].endswith("staged.yaml:10")
    assert "staged.yaml:11" in lines["exp.policy.lr"] and lines["exp.metrics"].endswith("staged.yaml:4")


def test_one_stage_is_the_run_without_stages(tmp_path: Path) -> None:
    plain = read_command_line(arguments(tmp_path, *([] if write_files(tmp_path) else [])))
    for text in ("name: x\nstages: [{name: only, exp: exp.yaml}]\n", f"{EXP}stages: [{{name: only}}]\n"):
        (one,) = read_stages(staged(tmp_path, text))
        assert one.settings == plain and one.settings.digest() == plain.digest()
        assert one.settings.to_yaml() == plain.to_yaml() and one.makes == str(run_path(plain))
    (none,) = read_stages(arguments(tmp_path))
    assert none.name == "" and none.settings == plain


def test_flags_reach_every_stage_that_reads_them_and_its_own_one(tmp_path: Path) -> None:
    def rates(*more: str) -> list[float]:
        return [each.settings.exp.policy.lr for each in stages_of(tmp_path, STAGED, *more).values()]

    assert rates("--lr", "0.5") == [0.5, 0.5, 0.5]
    assert rates("--stages.sft.lr", "0.5") == [0.5, 1e-4, 1e-3]
    assert rates("--stages.sft.exp.policy.lr", "0.5") == [0.5, 1e-4, 1e-3]
    assert rates("--exp.policy.lr", "0.5") == [0.5, 0.5, 0.5]
    assert rates("--lr", "0.5", "--stages.rec.lr", "0.25") == [0.5, 0.25, 0.5]
    seeds = [each.settings.seed for each in stages_of(tmp_path, STAGED, "--stages.rec.seed", "7").values()]
    assert seeds == [2023, 7, 2023]
    (tmp_path / "other.yaml").write_text((tmp_path / "data.yaml").read_text().replace("MIND-", "Other-"))
    names = stages_of(tmp_path, STAGED, "--stages.rec.data", str(tmp_path / "other.yaml"))
    assert [each.settings.data.name for each in names.values()] == ["MIND-small", "Other-small", "MIND-small"]


def test_where_runs_are_kept_changes_no_digest(tmp_path: Path) -> None:
    here, there = (stages_of(tmp_path, STAGED, "--runs", runs) for runs in ("here", "there/below"))
    for name in here:
        assert here[name].settings.digest() == there[name].settings.digest()
        assert str(here[name].makes).replace("here", "there/below", 1) == there[name].makes
    other = stages_of(tmp_path, STAGED, "--stages.rec.seed", "1")
    assert other["measure"].settings.digest() != here["measure"].settings.digest()
    assert other["sft"].settings.digest() == here["sft"].settings.digest()


def test_saved_settings_of_a_stage_keep_its_digest(tmp_path: Path) -> None:
    stage = stages_of(tmp_path)["measure"]
    (made := Path(str(stage.settings.exp.load))).mkdir(parents=True)
    try:
        stage.settings.save(tmp_path / "settings.yaml")
        argv = ["--settings", str(tmp_path / "settings.yaml")]
        again = read_command_line(argv)
        assert again.digest() == stage.settings.digest() and again.exp.load == stage.settings.exp.load
        moved = read_command_line(
            ["--settings", str(tmp_path / "settings.yaml"), "--exp.load", str(tmp_path)]
        )
        assert moved.digest() != again.digest()
    finally:
        made.rmdir()


def test_one_stage_may_be_chosen(tmp_path: Path) -> None:
    assert list(stages_of(tmp_path, STAGED, "--stage", "rec")) == ["rec"]


def test_a_stage_leaves_out_layers_that_its_mode_does_not_read(tmp_path: Path) -> None:
    asks = (
        "{mode: generate, generate: {log: answers.jsonl, generator: {kind: endpoint, base_url: 'http://x', "
        "model: m}, parameters: {max_tokens: 9}, scheme: {name: s, of: items, user: '{title}', "
        "answer: {form: text, fields: {title: {}}}}}}"
    )
    text = f"name: s\nmode: train\nstages:\n- {{name: ask, exp: {asks}}}\n- {{name: learn}}\n"
    found = stages_of(tmp_path, text, "--model.item_encoder.heads", "4", "--hidden_size", "32")
    assert found["ask"].makes == "answers.jsonl" and found["ask"].settings.model is None
    assert found["learn"].settings.model.item_encoder.arguments["heads"] == 4
    other = stages_of(tmp_path, text.replace("answers.jsonl", "elsewhere.jsonl"))
    assert other["ask"].settings.digest() == found["ask"].settings.digest()


WRONG = {
    "a later stage": ("${stages.rec}", "${stages.later}", "there is no stage 'later'"),
    "itself": ("${stages.rec}", "${stages.measure}", "is this stage itself"),
    "misspelt": ("${stages.rec}", "${stages.recc}", "did you mean 'rec'?"),
    "in a default": ("${stages.rec}", "${load:${stages.nope}}", "there is no stage 'nope'"),
    "a key of a path": ("${stages.rec}", "${stages.rec.adapter}", "write ${stages.rec}/adapter"),
    "a name twice": ("name: rec", "name: sft", "'sft' is named twice"),
    "a name": ("name: rec", "name: r.c", "a stage is named in letters"),
    "no name": ("- name: rec\n  exp", "- exp", "is required: text"),
    "a key": ("flags: {lr", "flag: {lr", "did you mean 'flags'?"),
    "a flag": ("flags: {lr", "flags: {lrr", "nothing reads it"),
    "a layer as flag": ("flags: {lr", "flags: {data", "`data` is no flag of a stage"),
    "a mode": ("mode: test", "mode: tset", "did you mean 'test'?"),
    "no file": ("  exp: exp.yaml", "  exp: expp.yaml", "no file"),
    "pieces": ("  exp: exp.yaml", "  exp: 3", "must be a file, a block of settings, or a list of these"),
    "a setting": ("batch_size: 32", "batch_sise: 32", "did you mean 'batch_size'?"),
    "no list": (STAGED[STAGED.index("- name: sft") :], "  sft: {}\n", "must be a list"),
    "an empty list": (STAGED[STAGED.index("stages:") :], "stages: []\n", "must not be empty"),
    "stages in a stage": ("  exp: exp.yaml", "  exp: staged.yaml", "has stages itself"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(tmp_path: Path, case: str) -> None:
    old, new, message = WRONG[case]
    assert old in STAGED
    (told,) = problems_of(staged(tmp_path, STAGED.replace(old, new, 1)))
    assert message in told and "staged.yaml:" in told and "\n" not in told


def test_a_reference_forward_is_refused(tmp_path: Path) -> None:
    text = STAGED.replace("flags: {lr: 1e-4}", "flags: {lr: '${stages.measure}'}")
    (told,) = problems_of(staged(tmp_path, text))
    assert "${stages.measure} comes after this stage" in told and "before it: sft" in told


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            ("--stages.rek.lr", "1"),
            "there is no stage 'rek'; there are sft, rec, measure; did you mean 'rec'?",
        ),
        (("--stages.rec", "1"), "names no key"),
        (("--stages", "1"), "is a list of the exp layer"),
        (("--stages.rec.lrr", "1"), "nothing reads it"),
        (("--lrr", "1"), "nothing reads it"),
        (("--stage", "rek"), "there is no stage 'rek'"),
        (("--stages.rec.exp.polcy.lr", "1"), "there is no such setting"),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path: Path, flag: tuple[str, str], message: str) -> None:
    (told,) = problems_of(staged(tmp_path, STAGED, *flag))
    assert message in told and told.startswith("command line")


def test_a_run_without_stages_knows_no_stage(tmp_path: Path) -> None:
    write_files(tmp_path)
    (told,) = problems_of(arguments(tmp_path, "--stage", "rec"))
    assert "this one has none" in told


def test_one_run_alone_is_read_where_stages_are_not(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exp.stages: is a list of runs, and one run is wanted here"):
        read_command_line(staged(tmp_path))


def test_help_lists_the_keys_of_every_stage(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("mode: train\npolicy: {epoch: '${epochs:3}$'}\n")
    text = STAGED.replace("{name: second, ", "[more.yaml, {name: second, ").replace("32}}", "32}}]")
    told = help_text(staged(tmp_path, text, "--help"))
    for key in ("--epochs", "--lr", "--hidden_size", "--stages.NAME.lr", "--stage "):
        assert key in told
    assert "--epochs" not in help_text(arguments(tmp_path))
    assert "--stages.NAME.lr" in help_text(staged(tmp_path, STAGED.replace("name: rec", "name: sft")))
