"""A whole model computes what transformers does, learns, and is saved as a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from legorec.files.digest import digest_file
from legorec.lm.pretrained import find_pretrained
from legorec.lm.whole import WholeModel
from tests.support.texts import text_model
from tests.support.tiny import difference, packed_ids, states_of, whole

LENGTHS = [3, 7, 1, 7, 2, 30, 5]


@pytest.mark.parametrize("model_type", ["bert", "llama", "roberta", "distilbert", "gpt2", "opt"])
def test_states_are_those_of_transformers(checkpoint, model_type: str) -> None:
    pretrained = checkpoint(model_type)
    found = WholeModel(pretrained).eval()(*packed_ids(LENGTHS))
    assert difference(found, states_of(whole(pretrained), *packed_ids(LENGTHS))) < 1e-5


def test_all_weights_learn_or_those_above_the_frozen_layers(checkpoint) -> None:
    ids, lengths = packed_ids(LENGTHS)
    for frozen in (0, 2, 3):
        model = WholeModel(checkpoint("bert"), frozen_layers=frozen)
        learned = {name for name, value in model.named_parameters() if value.requires_grad}
        assert any(name.startswith("model.embeddings") for name in learned) == (frozen == 0)
        layers = {int(name.split(".")[3]) for name in learned if ".layer." in name}
        assert layers == set(range(frozen, 3))
        if learned:
            model(ids, lengths).square().sum().backward()
            assert all(value.grad is not None for value in model.parameters() if value.requires_grad)
    with pytest.raises(ValueError, match="`frozen_layers` must be at most 3"):
        WholeModel(checkpoint("bert"), frozen_layers=4)


def test_a_saved_model_is_a_checkpoint_with_a_manifest(tmp_path: Path) -> None:
    from transformers import AutoModel

    model = WholeModel(text_model(tmp_path / "base"))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01)
    model.save(tmp_path / "saved", {"texts": "those of a test"})
    model.save(tmp_path / "saved", {"texts": "those of a test"})  # over itself
    ids, lengths = packed_ids(LENGTHS)
    expected = model.eval()(ids, lengths)
    read = find_pretrained(str(tmp_path / "saved"))
    assert torch.equal(WholeModel(read).eval()(ids, lengths), expected)
    assert read.tokenizer().to_str() == model.base.tokenizer().to_str()
    outside = AutoModel.from_pretrained(tmp_path / "saved").eval()
    assert difference(outside(ids[None, :3]).last_hidden_state[0], expected[:3]) < 1e-5
    manifest = json.loads((tmp_path / "saved/manifest.json").read_text())
    assert manifest["base"]["digest"] == model.base.digest() and manifest["texts"] == "those of a test"
    facts = manifest["files"]["model.safetensors"]
    assert facts["blake2b"] == digest_file(tmp_path / "saved/model.safetensors")
