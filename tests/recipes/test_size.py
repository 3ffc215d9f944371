"""What ``size`` says of a model is what the model turns out to be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import worker
from legorec.build import build
from legorec.data.clicks import ClickStream
from legorec.engine.optim import make_optimizer
from legorec.lm.cut import LowerLayers, UpperLayers
from legorec.lm.model_types import FAMILIES
from legorec.recipes.inputs.build_model import build_model
from legorec.recipes.inputs.store_data import open_data
from legorec.recipes.outputs.figures import in_bytes
from legorec.recipes.outputs.step_memory import BATCHES
from legorec.recipes.size import count, figures, language_model
from legorec.recommender import Recommender
from legorec.settings import Settings, read_command_line
from legorec.sources.states import StatesSource
from tests.support.language_runs import (
    language_arguments,
    text_catalog,
    write_language_model,
    write_language_store,
)
from tests.support.runs import arguments, refused, run_folders, write_store
from tests.support.tiny import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two language models, a store for both, and one of their caches at depth 2."""
    folder = tmp_path_factory.mktemp("size")
    models = {kind: write_language_model(folder / kind, kind).folder for kind in ("bert", "llama")}
    write_language_store(folder / "store", **models)
    argv = language_arguments(
        folder / "store",
        models["bert"],
        folder / "cache",
        folder / "runs",
        model="bert-nrms",
        exp="bert-split",
    )
    assert worker.main([*argv, "--exp.cache.layers", "[-1,-2]"]) == 0
    return folder


def command(place: Path, model: str = "bert-nrms", exp: str = "size", **flags: Any) -> list[str]:
    kind = model.partition("-")[0]
    argv = language_arguments(
        place / "store", place / kind, place / "cache", place / "runs", model=model, exp=exp, **flags
    )
    if "model.source.cache" in flags:  # nothing reads the other then
        at = argv.index("--cache")
        del argv[at : at + 2]
    return argv


def built(settings: Settings) -> Recommender:
    return build_model(settings, open_data(settings), torch.device("cpu"))


def optimizer_state(model: Recommender) -> int:
    """Bytes of what AdamW holds after a step."""
    optimizer = make_optimizer(model, lr=0.1)
    for value in model.parameters():
        value.grad = torch.zeros_like(value) if value.requires_grad else None
    optimizer.step()
    return sum(value.nbytes for state in optimizer.state.values() for value in state.values())


def gradients(model: Recommender) -> int:
    return sum(value.nbytes for value in model.parameters() if value.requires_grad)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("bert-nrms", {"layer": 0}),
    ("bert-nrms", {"layer": 2}),
    ("bert-naml", {"layer": -1, "lora_r": 4}),
    ("bert-nrms", {"layer": 2, "lora": False}),
    ("bert-nrms", {"layer": 2, "lora": False, "frozen": True}),
    ("bert-nrms", {"layer": 1, "model.source.cache": "null", "embed_hidden_size": 8}),
    ("llama-nrms", {"layer": 0, "lm_dtype": "bf16"}),
    ("llama-naml", {"layer": 0, "lora": False, "lm_dtype": "bf16"}),
]


@pytest.mark.parametrize(("model", "flags"), CASES, ids=str)
def test_a_language_model_is_as_large_as_said(place: Path, model: str, flags: dict[str, Any]) -> None:
    settings = read_command_line(command(place, model, **flags))
    found, real = figures(settings), built(settings)
    assert found["parameters"]["total"] == count(real)
    for name in ("source", "item_encoder", "user_encoder", "predictor"):
        assert found["parameters"][name] == count(getattr(real, name))
    assert found["memory"]["gradients"] == gradients(real)
    assert found["memory"]["optimizer"] == optimizer_state(real)
    assert found["memory"]["weights"] == sum(each.nbytes for each in (*real.parameters(), *real.buffers()))


@pytest.mark.parametrize("model", ["lego_nrms", "lego_naml", "lego_nrms_id", "lego_naml_id"])
def test_a_small_model_is_as_large_as_said(tmp_path: Path, model: str) -> None:
    settings = read_command_line(arguments(write_store(tmp_path / "s"), tmp_path, model=model, exp="size"))
    found, real = figures(settings), built(settings)
    assert found["parameters"]["total"] == count(real) and found["language_model"] is None
    assert found["memory"]["optimizer"] == optimizer_state(real)
    assert found["cache"] == [] and found["memory"]["states"] == 0


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_given_tables_are_counted_by_their_shape(tmp_path: Path, frozen: bool, suffix: str) -> None:
    store = write_store(tmp_path / "s")
    rows = open_data(read_command_line(arguments(store, tmp_path, exp="size"))).catalog.vocabularies["words"]
    table = np.random.default_rng(0).random((rows, 12)).astype(np.float16)
    path = tmp_path / f"table.{suffix}"
    np.save(path, table) if suffix == "npy" else save_file({"vectors": table}, path)
    layer = tmp_path / "embed.yaml"
    layer.write_text(
        f"name: given\ntables:\n- {{vocabulary: words, path: {path}, frozen: {str(frozen).lower()}}}\n"
    )
    settings = read_command_line([*arguments(store, tmp_path, exp="size"), "--embed", str(layer)])
    found, real = figures(settings), built(settings)
    assert found["parameters"]["source"] == count(real.source)
    assert found["memory"]["weights"] == sum(each.nbytes for each in (*real.parameters(), *real.buffers()))
    assert found["memory"]["optimizer"] == optimizer_state(real)


def test_a_config_a_tokenizer_and_a_store_are_enough(place: Path, tmp_path: Path) -> None:
    """Neither weights nor a cache; an ``embed`` layer with the checkpoint's table goes along."""
    whole = figures(read_command_line(command(place, layer=2)))
    bare = tmp_path / "bert"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(place / "bert" / name, bare)
    table = tmp_path / "table.npy"
    np.save(table, np.zeros((97, 32), dtype=np.float32))
    (tmp_path / "e.yaml").write_text(f"name: t\ntables:\n- {{vocabulary: bert, path: {table}}}\n")
    argv = language_arguments(
        place / "store", bare, tmp_path / "none", tmp_path, model="bert-nrms", exp="size", layer=2
    )
    found = figures(read_command_line([*argv, "--embed", str(tmp_path / "e.yaml")]))
    assert found["language_model"].pop("name") != whole["language_model"].pop("name")
    assert found == whole


def test_caches_are_as_large_as_written(place: Path) -> None:
    asked = figures(read_command_line(command(place, **{"exp.cache.layers": "[-1,-2]"})))["cache"]
    assert [each["depth"] for each in asked] == [1, 2]
    for each in asked:
        (written,) = (place / "cache").glob(f"depth-{each['depth']}-*")
        real = sum(file.stat().st_size for file in written.glob("*.safetensors"))
        assert abs(each["bytes"] - real) < 0.02 * real
    (own,) = figures(read_command_line(command(place, layer=2)))["cache"]
    assert own == asked[1]
    assert figures(read_command_line(command(place, layer=0)))["cache"] == []


def test_cached_states_count_where_an_accelerator_keeps_them(place: Path) -> None:
    found = figures(read_command_line(command(place, layer=2)))
    assert found["memory"]["states"] == found["cache"][0]["bytes"] > 0
    assert figures(read_command_line(command(place, layer=2, memory_gb=1e-6)))["memory"]["states"] == 0


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "opt", "electra", "llama"])
def test_what_is_loaded_and_what_is_not_make_up_the_whole(model_type: str, tmp_path: Path) -> None:
    """The lower layers and the upper ones have every parameter of the checkpoint, each once."""
    assert model_type in FAMILIES
    pretrained = tiny(model_type, tmp_path)
    with torch.device("meta"):
        for depth in range(pretrained.num_layers + 1):
            source = StatesSource(text_catalog(), str(tmp_path), depth, cache=str(tmp_path / "none"))
            said, upper = language_model(source), count(UpperLayers(pretrained, depth))["all"]
            lower = count(LowerLayers(pretrained, [depth]))["all"]
            assert said["whole"] == upper + lower
            assert said["not_loaded"] == (lower if depth else 0)


def kept_for_backward(settings: Settings) -> int:
    """The most that autograd keeps of one of the batches that ``size`` looks at, parameters aside."""
    data = open_data(settings, ["train"])
    model = build_model(settings, data, torch.device("cpu")).train()
    objective = build("objective", settings.model.objective, {})
    policy = settings.exp.policy
    stream = ClickStream(
        data.training,
        batch_size=policy.batch_size,
        num_negatives=objective.num_negatives,
        positives_only=objective.positives_only,
        seed=settings.seed,
    )
    own = {value.data_ptr() for value in model.parameters()}
    most = 0
    for number in range(min(BATCHES, stream.num_batches)):
        seen: dict[int, torch.Tensor] = {}

        def note(value: torch.Tensor, seen: dict[int, torch.Tensor] = seen) -> torch.Tensor:
            if value.untyped_storage().data_ptr() not in own:
                seen[value.untyped_storage().data_ptr()] = value
            return value

        bf16 = policy.precision == "bf16"
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda value: value),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            objective(model, stream.batch(number))
        most = max(most, sum(value.untyped_storage().nbytes() for value in seen.values()))
    return most


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"precision": "bf16"},
        {"lora": False},
        {"lora": False, "lm_dtype": "bf16"},
        {"lora": False, "frozen": True},
    ],
)
@pytest.mark.parametrize("model", ["bert-nrms", "llama-naml"])
def test_activations_are_estimated_within_half_and_twice(
    place: Path, model: str, flags: dict[str, Any]
) -> None:
    settings = read_command_line(command(place, model, layer=0, **flags))
    ratio = figures(settings)["memory"]["activations"] / kept_for_backward(settings)
    assert 0.5 < ratio < 2


@pytest.mark.parametrize(
    "model", ["lego_nrms", "lego_naml", "lego_nrms_id", "lego_din_id", "lego_din", "joined-naml"]
)
def test_activations_of_small_models_too(tmp_path: Path, model: str) -> None:
    settings = read_command_line(arguments(write_store(tmp_path / "s"), tmp_path, model=model, exp="size"))
    ratio = figures(settings)["memory"]["activations"] / kept_for_backward(settings)
    assert 0.5 < ratio < 2


def test_smaller_pages_batches_and_checkpointing_take_less(place: Path) -> None:
    def activations(**flags: Any) -> int:
        return figures(read_command_line(command(place, layer=0, **flags)))["memory"]["activations"]

    whole = activations()
    assert activations(item_page_size=4) < whole / 2
    assert activations(batch_size=4) < whole
    assert activations(gradient_checkpointing=True) < whole
    assert activations(precision="bf16") < 0.6 * whole


def test_it_prints_tables_and_leaves_nothing_behind(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main(command(place, layer=2, runs=tmp_path)) == 0
    out = capsys.readouterr().out
    for text in (
        "not loaded",
        "item_encoder",
        "AdamW's two moments",
        "(estimate)",
        "cache on disk",
        "distinct",
    ):
        assert text in out
    assert run_folders(tmp_path) == []


def test_what_cannot_be_said_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "s")
    argv = [*arguments(store, tmp_path, exp="size"), "--exp.cache.layers", "[-1]"]
    refused(argv, capsys, "`exp.cache` needs a language model", "model.source is 'table'")
    refused(command(place, **{"exp.cache.layers": "[0]"}), capsys, "asks for depth 0")


def test_bytes_are_readable() -> None:
    assert [in_bytes(count) for count in (999, 1500, 2_100_000, 13_480_000_000)] == [
        "999 bytes", "1.50 KB", "2.10 MB", "13.48 GB",
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["lego_miner_category", "lego_lstur", "lego_din_id", "lego_sasrec"])
def test_models_of_clicks_are_counted_without_memory(tmp_path, model):
    argv = arguments(write_store(tmp_path / "store"), tmp_path / "runs", model=model, exp="size")
    settings = read_command_line(argv)
    found = figures(settings)["parameters"]
    data = open_data(settings)
    built = build_model(settings, data, torch.device("cpu"))
    assert found["total"]["trainable"] == sum(each.numel() for each in built.parameters())
