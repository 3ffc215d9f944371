"""R10, R11: every mistake in a config is told at once with its place; nothing is ignored, nothing run."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from legorec.settings import Settings, SettingsError, describe, help_text, read_command_line, wants_help
from tests.settings.wrong_configs import WRONG_FILES, WRONG_FLAGS
from tests.support.config_files import FILES, arguments, write_files

ROOT = Path(__file__).parents[2]


def settings_of(folder: Path, *more: str) -> Settings:
    return read_command_line(arguments(folder, *more))


def problems_of(argv: list[str]) -> list[tuple[str, str, str]]:
    with pytest.raises(SettingsError) as caught:
        read_command_line(argv)
    return [(each.origin, each.place, each.message) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("file", "old", "new", "origin", "place", "message"),
    WRONG_FILES,
    ids=[f"{each[0]}: {each[2]}"[:60] for each in WRONG_FILES],
)
def test_r10_a_wrong_file_is_told_with_its_line(
    tmp_path: Path, file: str, old: str | None, new: str, origin: str, place: str, message: str
) -> None:
    write_files(tmp_path)
    if old is not None:
        assert FILES[file].count(old) >= 1
        new = FILES[file].replace(old, new, 1)
    (tmp_path / file).write_text(new)
    told = problems_of(arguments(tmp_path))
    matching = [each for each in told if origin in each[0] and message in each[2] and each[1] == place]
    assert len(matching) == 1, told
    # One mistake, one problem; what a misnamed key leaves missing may be told too.
    assert all("is required" in each[2] for each in told if each not in matching), told


def test_r10_there_are_enough_of_them() -> None:
    assert len(WRONG_FILES) + len(WRONG_FLAGS) >= 40


@pytest.mark.parametrize(
    ("argv", "place", "message"), WRONG_FLAGS, ids=[" ".join(each[0]) for each in WRONG_FLAGS]
)
def test_r10_a_wrong_flag_is_told(tmp_path: Path, argv: list[str], place: str, message: str) -> None:
    write_files(tmp_path)
    told = problems_of(arguments(tmp_path, *argv))
    assert len(told) == 1, told
    assert told[0][0].startswith("command line") and told[0][1] == place and message in told[0][2]


def test_r10_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "embed.yaml").unlink()
    for file, old, new in (
        ("data.yaml", "max_length", "max_len"),
        ("model.yaml", "dot", "dott"),
        ("exp.yaml", "train_test", "tt"),
    ):
        (tmp_path / file).write_text(FILES[file].replace(old, new))
    more = ["--lr", "x", "--data.storee", "x", "--seed", "x"]
    places = [each[1] for each in problems_of(arguments(tmp_path, *more))]
    assert sorted(places) == [
        "--embed", "data.fields.title@words.max_len", "data.storee", "exp.mode", "exp.policy.lr",
        "model.predictor.name", "seed",
    ]  # fmt: skip


def test_layers_left_out_or_missing_are_told_with_the_nearest_file(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert [each[1] for each in problems_of([])] == ["--data", "--model", "--exp"]
    wrong = [
        "--data",
        f"{tmp_path}/dota.yaml",
        "--model",
        f"{tmp_path}/nowhere/m.yaml",
        "--exp",
        str(tmp_path),
        "--lr",
        "1",
    ]
    told = problems_of(wrong)
    assert [each[1] for each in told] == ["--data", "--model", "--exp"]
    assert f"did you mean '{tmp_path}/data.yaml'?" in told[0][2]
    assert "nowhere does not exist" in told[1][2] and "is a folder" in told[2][2]


def test_a_file_that_fails_does_not_blame_others(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "parts/policy.yaml").write_text("policy: [\n")
    (tmp_path / "data.yaml").write_bytes(b"name: \xff\n")
    told = problems_of(arguments(tmp_path, "--lr", "1", "--version", "large", "--data.name", "x"))
    assert [each[0] for each in told] == [f"{tmp_path}/data.yaml", f"{tmp_path}/parts/policy.yaml:2"]


def test_embed_may_be_left_out(tmp_path: Path) -> None:
    write_files(tmp_path)
    settings = read_command_line([*arguments(tmp_path)[:2], *arguments(tmp_path)[4:]])
    assert settings.embed.name == "random" and settings.embed.tables == []


def test_published_values_are_taken(tmp_path: Path) -> None:
    write_files(tmp_path)
    more = ["--fast_eval", "0", "--lr", "1e-4", "--item_lr=0.00001", "--llm_ver", "7b", "--hidden_size", "32"]
    settings = settings_of(tmp_path, *more, "--exp.policy.epoch_batch", "-4")
    assert settings.exp.evaluation.fast is False
    assert settings.exp.policy.lr == 1e-4 and settings.exp.policy.item_lr == 1e-5
    assert settings.exp.policy.epoch_batch == -4
    assert settings.model.item_encoder.arguments["hidden_dim"] == 32
    assert settings.did_nothing == ("llm_ver",)
    assert list(settings.data.fields) == ["title@words", "category"]
    assert settings.data.fields["category"].max_length is None
    assert (
        settings.model.user_encoder.arguments["dropout"] == 0.1
    )  # the brick's own default, kept with the run


def test_saved_settings_run_again(tmp_path: Path) -> None:
    write_files(tmp_path)
    settings = settings_of(
        tmp_path, "--lr", "1e-5", "--seed", "5", "--data.made_with", "{tokens: '1e-3', n: null}"
    )
    saved = tmp_path / "settings.yaml"
    settings.save(saved)
    again = read_command_line(["--settings", str(saved), "--device", "cpu"])
    assert again.dump() == settings.dump() and again.digest() == settings.digest()
    assert again.data.made_with == {"tokens": "1e-3", "n": None}
    assert again.seed == 5 and again.device == "cpu"
    assert again.origins["exp.policy.lr"].startswith(f"{saved}:")
    other = read_command_line(["--settings", str(saved), "--seed", "6", "--exp.policy.lr", "1e-4"])
    assert other.seed == 6 and other.exp.policy.lr == 1e-4
    assert problems_of(["--settings", str(saved), "--lr", "1"])[0][1] == "--lr"
    saved.write_text(saved.read_text() + "sed: 3\n")
    assert "did you mean 'seed'?" in problems_of(["--settings", str(saved)])[0][2]


def test_the_digest_is_of_what_changes_the_result(tmp_path: Path) -> None:
    write_files(tmp_path)
    plain = settings_of(tmp_path).digest()
    same = ["--device=cpu", "--runs=x", "--resume=1", "--dry_run=1", "--overwrite=true", "--llm_ver=7b"]
    for flag in (*same, "--lr=0.001", "--exp.accepts=[a]"):
        assert settings_of(tmp_path, flag).digest() == plain, flag
    other = ["--seed=1", "--lr=0.002", "--version=large", "--model.name=x", "--exp.metrics=[gauc]"]
    for flag in (*other, "--data.fields={category: {}}"):
        assert settings_of(tmp_path, flag).digest() != plain, flag
    assert len(plain) == 12 and int(plain, 16) >= 0


def test_r13_secrets_are_masked_and_a_mask_is_not_run_with(tmp_path: Path) -> None:
    write_files(tmp_path)
    canary = "canary-4711"
    settings = settings_of(
        tmp_path, "--data.made_with", f"{{api_key: {canary}, hf_token: {canary}, tokenizer: bert}}"
    )
    assert settings.data.made_with["api_key"] == canary
    assert canary not in settings.to_yaml() and canary not in describe(settings)
    assert settings.dump()["data"]["made_with"]["tokenizer"] == "bert"
    settings.save(tmp_path / "settings.yaml")
    told = problems_of(["--settings", str(tmp_path / "settings.yaml")])
    assert [each[1] for each in told] == ["data.made_with.api_key", "data.made_with.hf_token"]
    assert canary not in str(
        problems_of(arguments(tmp_path, "--hf_token", canary, "--model.api_key", canary))
    )


def test_describe_tells_every_setting_with_its_origin(tmp_path: Path) -> None:
    write_files(tmp_path)
    settings = settings_of(tmp_path, "--lr", "1e-4")
    lines = {line.split()[0]: line for line in describe(settings).splitlines()}
    assert lines["exp.policy.lr"].split(maxsplit=2)[1:] == [
        "0.0001",
        f"command line --lr ({tmp_path}/parts/policy.yaml:3)",
    ]
    assert lines["data.history.max_length"].endswith(f"{tmp_path}/parts/clicks.yaml:3")
    assert lines["exp.policy.warmup"].endswith("default") and lines["device"].endswith("default")
    flat = yaml.safe_load(settings.to_yaml())
    assert {"data", "embed", "model", "exp", "seed"} == set(flat)
    assert len(lines) > 40


def test_help_lists_what_the_named_files_read(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert wants_help(["--data", "x", "--help"]) and not wants_help(["--data", "x"])
    text = help_text(arguments(tmp_path, "--help"))
    for part in ("--seed", "--dry_run", "--settings", "--hidden_size", "exp.policy.lr (1e-3)", "--version"):
        assert part in text
    assert "--hidden_size" not in help_text(["--help"])


@pytest.mark.parametrize("text", ["lambda x: x", "__import__('os').getpid()", "os.system('true')"])
def test_r11_code_is_text(tmp_path: Path, text: str) -> None:
    write_files(tmp_path)
    settings = settings_of(tmp_path, "--data.made_with", f'{{filter: "{text}"}}')
    assert settings.data.made_with == {"filter": text}
    assert (
        problems_of(arguments(tmp_path, "--exp.policy.epoch", text))[0][2]
        == f"must be a whole number, got {text!r}"
    )


@pytest.mark.parametrize(
    "more",
    [
        ["--hiden_size", "3"],
        ["--model.user_encoder.name", "nmrs"],
        ["--exp.metrics", "[gauk]"],
        ["--exp.policy.lr", "x"],
    ],
)
def test_r10_exit_status_2_within_a_second_before_torch(tmp_path: Path, more: list[str]) -> None:
    write_files(tmp_path)
    code = (
        "import sys, worker\nstatus = worker.main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'polars', 'tokenizers'} & set(sys.modules), 'imported'\n"
        "sys.exit(status)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments(tmp_path, *more)], cwd=ROOT, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stderr
    assert "1 problem in the settings" in done.stderr and "Traceback" not in done.stderr
    # Processor time, not the clock's: the machine may be busy with other tests.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
