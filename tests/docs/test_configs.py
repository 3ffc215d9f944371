"""Every file in config/ is read by a command line that is right, and published flags reach it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from legorec.settings import SettingsError, read_command_line, read_stages

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
LAYERS = ("data", "embed", "model", "exp")
PUBLISHED = [
    "--lr", "1e-4", "--item_lr", "1e-5", "--batch_size", "32", "--acc_batch", "2", "--epoch_batch", "-4",
    "--hidden_size", "32", "--embed_hidden_size", "48", "--fast_eval", "0", "--epoch", "3", "--patience", "1",
    "--simple_dev", "1", "--warmup", "10",
]  # fmt: skip


@pytest.fixture(autouse=True)
def tables_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables that ``config/embed`` names, which ``process/embed.py`` would have written."""
    monkeypatch.chdir(tmp_path)
    for path in files("embed"):
        layer = yaml.safe_load(path.read_text())
        for table in [*layer["tables"], *([layer["codes"]] if "codes" in layer else [])]:
            path = Path(re.sub(r"\$\{\w+:(.*)\}", r"\1", table["path"]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def files(layer: str) -> list[Path]:
    """What can be named on the command line; ``parts`` are imported by others."""
    return [path for path in sorted((CONFIG / layer).rglob("*.yaml")) if "parts" not in path.parts]


def command(tmp_path: Path, **chosen: Path) -> list[str]:
    """The named files, and beside them such as go with them."""
    with_lm = any(is_for_language_models(path) for path in chosen.values())
    names = (
        ("mind-bert", "null", "bert-naml", "tt-llm") if with_lm else ("mind", "null", "lego_naml", "train")
    )
    first = {layer: CONFIG / layer / f"{name}.yaml" for layer, name in zip(LAYERS, names, strict=True)}
    if "model" in chosen and chosen["model"].stem.startswith("semantic"):
        first["embed"] = CONFIG / "embed" / "semantic-codes.yaml"
    if any(is_joined(path) for path in chosen.values()) and with_lm:
        first["data"] = CONFIG / "data" / "mind-joined.yaml"
        first["model"] = CONFIG / "model" / "joined-bert-naml.yaml"
    if "embed" in chosen and chosen["embed"].stem == "semantic-codes":
        first["model"] = CONFIG / "model" / "semantic_naml.yaml"
    if "exp" in chosen and chosen["exp"].stem.startswith(("tallrec", "prompt")):  # towers do not know all
        first |= {"data": CONFIG / "data" / "tallrec-movie.yaml"}
        first |= {"model": CONFIG / "model" / "tallrec-lora.yaml"}
    if is_asked(chosen.get("model")):  # which is measured as it is
        first |= {"exp": CONFIG / "exp" / "tallrec-test.yaml"}
    if "exp" in chosen and chosen["exp"].stem.startswith("trsr") and is_staged(chosen["exp"]):
        layers = {"data": "trsr-books", "model": "trsr-lora"}
        files_of = {layer: CONFIG / layer / f"{name}.yaml" for layer, name in layers.items()} | chosen
        return [part for layer, path in files_of.items() for part in (f"--{layer}", str(path))] + [
            "--llm",
            "m",
        ]
    if "exp" in chosen and chosen["exp"].stem.startswith("calrec"):
        first |= {"model": CONFIG / "model" / "calrec-lora.yaml"}
        first |= {"data": CONFIG / "data" / "calrec-amazon.yaml"}
    if is_for_generating(chosen.get("exp")):  # which reads no model
        layers = {"data": first["data"], "exp": chosen["exp"]}
        return [part for layer, path in layers.items() for part in (f"--{layer}", str(path))] + ["--llm", "m"]
    if is_for_texts(chosen.get("model")):  # which ranks nothing
        layers = first | {"exp": CONFIG / "exp" / "cela-texts.yaml"} | chosen
        return [part for layer, path in layers.items() for part in (f"--{layer}", str(path))]
    argv = [part for layer, path in (first | chosen).items() for part in (f"--{layer}", str(path))]
    if reads_users((first | chosen)["data"]):
        argv += ["--model.user_plugin", "{name: profile}"]
    load = ["--load", str(tmp_path)] if "load: ${load}$" in (first | chosen)["exp"].read_text() else []
    asked = ["--llm", "m"] if is_asked(chosen.get("model")) else []
    return [*argv, *load, *asked, *(["--llm_ver", "12L"] if with_lm else [])]


def is_asked(path: Path | None) -> bool:
    """A language model that is asked for texts, and named on the command line."""
    return path is not None and "family: asked" in path.read_text()


def is_staged(path: Path | None) -> bool:
    """A list of runs."""
    return path is not None and "stages:" in path.read_text()


def is_for_generating(path: Path | None) -> bool:
    """Prompts of GENRE or LLM-TRSR, whose run asks a language model and trains nothing."""
    return path is not None and any(each in path.read_text() for each in ("generating.yaml", "/summarize_"))


def is_for_texts(path: Path | None) -> bool:
    """A language model that is trained on the texts of items."""
    return path is not None and path.stem in ("cela-adapted", "cela-aligned")


def reads_users(path: Path) -> bool:
    """A data layer with fields of users, which a user plugin reads."""
    return "user_fields:" in path.read_text()


def is_for_language_models(path: Path) -> bool:
    """Items as one text, a language model that encodes them, its token table, or an experiment on it."""
    named = path.stem.removeprefix("joined-").startswith(("bert-", "llama-", "plmnr-"))
    named |= path.stem.endswith(("-llm", "-llama")) or is_for_texts(path)
    return named or "template:" in path.read_text() or is_joined(path) and path.parent.name == "data"


def is_joined(path: Path) -> bool:
    """Items as fields and as a text, or a model with parts for both."""
    return "joined" in path.stem


EVERY = [(layer, path) for layer in LAYERS for path in files(layer)]


def test_there_are_files_of_every_layer() -> None:
    assert all(len(files(layer)) > 0 for layer in LAYERS)


@pytest.mark.parametrize(("layer", "path"), EVERY, ids=[str(each[1].relative_to(CONFIG)) for each in EVERY])
def test_every_file_is_read(tmp_path: Path, layer: str, path: Path) -> None:
    for stage in read_stages(command(tmp_path, **{layer: path})):
        assert getattr(stage.settings, layer).name


@pytest.mark.parametrize("model", files("model"), ids=[each.stem for each in files("model")])
def test_every_data_set_goes_with_every_model(tmp_path: Path, model: Path) -> None:
    for data in files("data"):
        both = is_for_language_models(model) and is_joined(model)
        fits = is_for_language_models(data) is is_for_language_models(model) and is_joined(data) is both
        if fits and not reads_users(data):
            assert read_command_line(command(tmp_path, model=model, data=data)).data.name


@pytest.mark.parametrize("name", ["naml", "nrms", "lstur", "fastformer", "miner"])
def test_profiles_go_with_models_whose_users_are_vectors(tmp_path: Path, name: str) -> None:
    found = [data for data in files("data") if reads_users(data)]
    assert found
    for data in found:
        kind = "bert" if is_for_language_models(data) else "lego"
        model = CONFIG / "model" / f"{kind}_{name}.yaml".replace("bert_", "bert-")
        settings = read_command_line(command(tmp_path, model=model, data=data))
        assert settings.model.user_plugin is not None and settings.data.user_fields


@pytest.mark.parametrize("model", sorted((CONFIG / "model").glob("lego_*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("exp", sorted((CONFIG / "exp").glob("tt-n*.yaml")), ids=lambda path: path.stem)
def test_the_published_flags_reach_their_settings(tmp_path: Path, model: Path, exp: Path) -> None:
    argv = command(tmp_path, data=CONFIG / "data" / "mind.yaml", model=model, exp=exp)
    settings = read_command_line([*argv, "--version", "large", *PUBLISHED])
    policy = settings.exp.policy
    assert (policy.lr, policy.item_lr, policy.batch_size, policy.acc_batch) == (1e-4, 1e-5, 32, 2)
    assert (policy.epoch_batch, policy.epoch, policy.patience, policy.warmup) == (-4, 3, 1, 10)
    assert policy.simple_dev is True and settings.exp.evaluation.fast is False
    assert settings.data.name == "MIND-large" and settings.data.store == "data/MIND-large"
    assert settings.model.source.arguments["embed_dim"] == 48
    assert settings.model.item_encoder.arguments["hidden_dim"] == 32
    assert settings.did_nothing == ()


def test_a_missing_table_is_told_with_the_way_out(tmp_path: Path) -> None:
    Path("data/embed/glove.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"no file data/embed/glove.safetensors.*process/embed.py"):
        read_command_line(command(tmp_path, embed=CONFIG / "embed" / "glove.yaml"))


def test_model_names_differ() -> None:
    for layer in LAYERS:
        names = [yaml.safe_load(path.read_text())["name"] for path in files(layer)]
        assert len(set(names)) == len(names), layer


def test_every_part_is_imported_by_something() -> None:
    written = "".join(path.read_text() for path in CONFIG.rglob("*.yaml"))
    parts = [path for path in CONFIG.rglob("*.yaml") if "parts" in path.parts]
    assert parts and all(path.name in written for path in parts)
