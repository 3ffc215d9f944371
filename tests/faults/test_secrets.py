"""What opens someone's account is shown to nobody: not in files, not in messages, not in tracebacks (R13)."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import legorec
import worker
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import ROOT, arguments, finish, only_run, refused

CANARY = "canary4711"
NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "MY_SECRET", "DB_PASSWORD")
LAB = """
from torch import nn

class Priced(nn.Module):
    takes = ("vector",)

    def __init__(self, api_key: str, hf_token: str | None = None, fails: bool = False):
        super().__init__()
        self.api_key, self.hf_token, self.fails = api_key, hf_token, fails

    def forward(self, user, candidates_BKD):
        assert self.api_key.startswith("canary") and not self.fails
        return (user.unsqueeze(1) * candidates_BKD).sum(2)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, CANARY)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A brick from elsewhere that takes a key."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "secret_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    return "{name: secret_lab.Priced, api_key: " + CANARY + ", hf_token: " + CANARY + "}"


def nowhere(folder: Path, capsys: pytest.CaptureFixture[str], more: str = "") -> str:
    """All that was said, in which the canary is not, and no file below the folder has it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert CANARY.encode() not in file.read_bytes(), file
        assert CANARY not in str(file)
    said = "".join(capsys.readouterr()) + more
    assert CANARY not in said
    return said


def test_r13_a_secret_is_in_no_file_of_a_run_and_in_no_line(store, tmp_path, capsys, lab):
    argv = arguments(store, tmp_path / "runs", epoch=1, model__predictor=lab)
    run = finish(argv)
    assert (run / "settings.yaml").read_text().count("<masked>") == 2
    assert worker.main([*argv, "--dry_run", "true"]) == worker.main([*argv, "--help"]) == 0
    finish(arguments(store, tmp_path / "runs" / "p", exp="predict", load=run, model__predictor=lab))
    finish(arguments(store, tmp_path / "runs" / "e", exp="export", load=run, model__predictor=lab))
    assert "<masked>" in nowhere(tmp_path / "runs", capsys)


def test_r13_what_was_masked_is_asked_for_again(store, tmp_path, capsys, lab):
    run = finish(arguments(store, tmp_path / "runs", epoch=1, model__predictor=lab))
    again = ["--settings", str(run / "settings.yaml"), "--runs", str(tmp_path / "again"), "--device", "cpu"]
    refused(again, capsys, "model.predictor.api_key: was masked when the settings were saved; give it again")
    with pytest.raises(legorec.settings.SettingsError, match="was masked when the settings were saved"):
        legorec.load(run, device="cpu")
    keys = [f"--model.predictor.{name}={CANARY}" for name in ("api_key", "hf_token")]
    assert only_run(tmp_path / "runs").name == finish([*again, *keys, "--allow", "secret_lab"]).name
    nowhere(tmp_path / "runs", capsys)
    nowhere(tmp_path / "again", capsys)


def test_r13_a_traceback_and_the_log_of_what_nobody_expected(store, tmp_path, capsys, lab):
    argv = arguments(store, tmp_path / "runs", epoch=1, model__predictor=lab[:-1] + ", fails: true}")
    try:
        worker.main(argv)
    except AssertionError:
        told = traceback.format_exc()
    assert "secret_lab.py" in told
    nowhere(tmp_path / "runs", capsys, told)


def test_r13_a_store_that_was_made_otherwise(store, tmp_path, capsys):
    argv = arguments(store, tmp_path / "runs", data__made_with=f"{{api_key: {CANARY}}}")
    refused(argv, capsys, "it was not made with a setting `api_key`")
    assert worker.main(argv) == 2 and CANARY not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "wrong",
    [
        f"--api_key={CANARY}",
        f"--model.api_key={CANARY}",
        f"--model.predictor.api_key=[{CANARY}]",
        f"--model.predictor.api_key={{a: {CANARY}}}",
        f"--model.predictor.api_key=${{{CANARY}",
        f"--model.predictor.api_key=${{{CANARY} }}",
        f"--model.predictor.api_key=${{x:{CANARY}}}${{",
        f"--model.predictor.api_key='{CANARY}",
        f"--model.predictor.api_key=first {CANARY}",
        f"--model.predictor.api_token={CANARY}",
        f"--model.predictor.name=dot --model.predictor.api_key={CANARY}",
        f"--exp.policy.password={CANARY}",
        f"--api_key= {CANARY}",
        f"-api_key {CANARY}",
        f"--lr=0.1 --api_key {CANARY} --api_key {CANARY}x",
    ],
)
def test_r13_what_is_wrong_is_told_without_it(store, tmp_path, capsys, lab, wrong):
    argv = arguments(store, tmp_path / "runs", model__predictor=lab)
    assert worker.main([*argv, *wrong.split(" ")]) == 2
    assert CANARY not in "".join(capsys.readouterr()) and not (tmp_path / "runs").exists()


def test_r13_a_secret_in_a_file_is_not_in_the_help(store, tmp_path, capsys):
    text = (ROOT / "config" / "model" / "lego_nrms.yaml").read_text()
    (tmp_path / "model.yaml").write_text(f"{text}\nsomething: ${{api_key:{CANARY}}}\n")
    argv = arguments(store, tmp_path / "runs")
    argv[argv.index("--model") + 1] = str(tmp_path / "model.yaml")
    (tmp_path / "parts").symlink_to(ROOT / "config" / "model" / "parts")
    assert worker.main([*argv, "--help"]) == 0
    said = "".join(capsys.readouterr())
    assert "--api_key" in said and "<masked>" in said and CANARY not in said


def test_r13_caches_adapters_and_tables_of_a_language_model(tmp_path, capsys):
    """The hub's token is in the environment of every run that reads a checkpoint."""
    folder = write_language_model(tmp_path / "weights", "bert").folder
    store = write_language_store(tmp_path / "store", bert=folder)
    base = (store, folder, tmp_path / "cache", tmp_path / "runs", "bert-naml")
    whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32}
    assert worker.main(language_arguments(*base, "bert-split", exp__cache__layers="[-1]", **whole)) == 0
    train = {"lr": 1e-3, "item_lr": 1e-4, "batch_size": 8, "acc_batch": 2, "epoch_batch": -4, "epoch": 1}
    assert worker.main(language_arguments(*base, "tt-llm", layer=2, embed_hidden_size=32, **train)) == 0
    run = only_run(tmp_path / "runs")
    assert (run / "adapter" / "adapter_config.json").is_file() and list(
        (tmp_path / "cache").rglob("manifest.json")
    )
    nowhere(tmp_path, capsys)
