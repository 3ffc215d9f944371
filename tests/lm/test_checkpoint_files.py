"""The files of a checkpoint: what is refused before anything of it is read, or run (R11, R12)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from legorec.lm import checkpoint_files
from legorec.lm.cut import UpperLayers
from legorec.lm.model_types import REFUSED
from legorec.lm.pretrained import Pretrained, PretrainedError


def edit(folder, **facts):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def test_r11_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        PretrainedError, match="no model.safetensors: pytorch_model.bin is pickled and is not read"
    ):
        UpperLayers(Pretrained(folder), 1)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(PretrainedError, match="no model.safetensors: weights are read only from safetensors"):
        Pretrained(folder).digest()


def test_r12_an_index_that_leads_astray(sharded):
    index = sharded / checkpoint_files.INDEX
    facts = json.loads(index.read_text())
    Pretrained(sharded).weight_files[1].unlink()
    with pytest.raises(PretrainedError, match=r"is incomplete: model-00002-of-.* is missing; fetch it again"):
        UpperLayers(Pretrained(sharded), 1)
    for outside in ("../llama/model.safetensors", "/model.safetensors"):
        index.write_text(json.dumps({"weight_map": {"norm.weight": outside}}))
        with pytest.raises(PretrainedError, match=f"leads out of its folder: '{outside}'"):
            Pretrained(sharded).digest()
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"norm.weight": 3}}):
        index.write_text(json.dumps({**facts, "weight_map": None} | wrong))
        with pytest.raises(PretrainedError, match="does not say where the weights are"):
            Pretrained(sharded).digest()


def test_no_config(tmp_path):
    with pytest.raises(
        PretrainedError, match="is not a checkpoint of a language model: it has no config.json"
    ):
        Pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{'model_type'")
    with pytest.raises(PretrainedError, match="config.json is not JSON: "):
        Pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(PretrainedError, match="config.json must hold a JSON object, it holds a list"):
        Pretrained(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        *((name, why) for name, why in REFUSED.items()),
        ("no_such", "transformers does not have it"),
        (None, "transformers does not have it"),
        ("gemma3", "save its language model alone, of type 'gemma3_text', and name that folder"),
        ("qwen3_5", "save its language model alone, of type 'qwen3_5_text', and name that folder"),
    ],
)
def test_types_that_cannot_be_cut_are_refused_by_what_hinders(folder, model_type, why):
    edit(folder, model_type=model_type)
    with pytest.raises(ValueError, match=f"is a model of type '{model_type}': .*") as refused:
        Pretrained(folder)
    told = str(refused.value)
    assert f": {why}" in told.replace("it reads more than text; ", "") and "docs/add-a-brick.md" in told
    assert "\n" not in told and len(told) < 400


def test_the_docs_name_every_type_that_is_refused():
    page = (Path(__file__).parents[2] / "docs" / "language-models.md").read_text()
    assert REFUSED and not [name for name in REFUSED if f"`{name}`" not in page]


def test_quantised(folder):
    edit(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(PretrainedError, match="is quantised, which is not supported"):
        Pretrained(folder)


@pytest.mark.parametrize("model_type", ["llama", "custom"])
def test_r11_code_of_a_checkpoint_is_not_run(folder, model_type):
    """A known type is built by transformers' own code, another refused."""
    for name in ("configuration", "modeling"):
        (folder / f"{name}_custom.py").write_text("import sys\nsys.legorec_ran = True\nraise SystemExit(3)\n")
    mapping = {"AutoConfig": "configuration_custom.Config", "AutoModel": "modeling_custom.Model"}
    edit(folder, model_type=model_type, auto_map=mapping)
    if model_type == "llama":
        module = type(UpperLayers(Pretrained(folder), 1).model).__module__
        assert module == "transformers.models.llama.modeling_llama"
    else:
        with pytest.raises(ValueError, match="is a model of type 'custom'"):
            Pretrained(folder)
    assert not hasattr(sys, "legorec_ran")


WRONG_SETTINGS = {
    "hidden_size": (-32, "32", 3.5, True, None, [32], 10**12, 10**400),
    "num_hidden_layers": (-1, 0, "3", 10**9),
    "vocab_size": (-5, 0, "many", 10**12),
    "intermediate_size": (-1, "x", 10**12),
    "num_attention_heads": (0, -4, 7),
    "max_position_embeddings": (0, "many"),
    "hidden_act": ("no_such", 5),
    "rope_parameters": ({"rope_type": "no_such"}, 5),
    "pad_token_id": ("x", 10**9),
    "rms_norm_eps": ("a",),
    "dtype": ("float99",),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_config_that_no_model_can_have_is_one_line(folder, name):
    started = time.process_time()
    for value in WRONG_SETTINGS[name]:
        edit(folder, **{name: value})
        with pytest.raises(PretrainedError, match=r"config\.json") as caught:
            Pretrained(folder).skeleton()
        assert "\n" not in str(caught.value)
    assert time.process_time() - started < 20, "a billion layers are not built"


def test_a_config_that_is_nested_too_deeply(folder):
    for file in ("config.json", "model.safetensors.index.json"):
        (folder / file).write_text("[" * 100_000 + "]" * 100_000)
        with pytest.raises(PretrainedError, match=f"{file} is not JSON: .*nested too deeply"):
            checkpoint_files.weight_files(folder, "llama") if "index" in file else Pretrained(folder)
