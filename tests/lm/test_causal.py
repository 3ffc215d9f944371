import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from legorec.lm.adapter_files import AdapterError
from legorec.lm.causal import load_causal
from legorec.lm.checkpoint_files import PretrainedError
from legorec.lm.lora import save_adapter
from tests.lm.adapters import CHOSEN, upper
from tests.support.tiny import tiny

IDS = torch.tensor([[5, 9, 12, 40]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny("llama", tmp_path_factory.mktemp("base") / "llama", head=True)


@pytest.fixture
def adapter(base, tmp_path):
    """A folder to do things to."""
    save_adapter(upper(base), base, tmp_path / "adapter", CHOSEN)
    return tmp_path / "adapter"


def scores(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("layout", ["", "with-head"])
def test_an_adapter_is_read_as_peft_reads_it(base, adapter, layout):
    from peft import PeftModel

    plain = load_causal(base.folder)
    expected = scores(PeftModel.from_pretrained(load_causal(base.folder), str(adapter / "with-head")).eval())
    found = scores(load_causal(base.folder, adapter / layout))
    assert torch.allclose(found, expected, atol=1e-6) and not torch.allclose(found, scores(plain), atol=1e-3)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_the_dtype_is_the_one_that_was_asked_for(base, dtype):
    model = load_causal(base.folder, dtype=dtype)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    assert {value.dtype for value in model.parameters()} == {wanted} and not model.training


def change_weights(change):
    def done(adapter):
        file = adapter / "adapter_model.safetensors"
        weights = load_file(file)
        change(weights)
        save_file(weights, file)

    return done


def change_facts(**facts):
    def done(adapter):
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))

    return done


def first(weights, part):
    return next(name for name in weights if part in name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda adapter: (adapter / "adapter_config.json").unlink(), "is no saved adapter"),
        (
            lambda adapter: (adapter / "adapter_model.safetensors").unlink(),
            "has no adapter_model.safetensors",
        ),
        (change_weights(lambda each: each.pop(first(each, "lora_A"))), "is missing from it"),
        (
            change_weights(lambda each: each.update({"base_model.model.x": IDS.float()})),
            "has no place",
        ),
        (
            change_weights(lambda each: each.update({first(each, "lora_A"): torch.ones(2, 2)})),
            "another model",
        ),
        (change_weights(lambda each: each[first(each, "lora_B")].fill_(torch.nan)), "not finite"),
        (change_weights(lambda each: [each[name].zero_() for name in each]), "was never trained"),
        (change_facts(use_rslora=True), "has `use_rslora` True, which is not supported"),
        (change_facts(target_modules=["nothing"]), "does not fit"),
        (change_facts(peft_type="IA3"), "must be LORA"),
    ],
)
@pytest.mark.filterwarnings("ignore:the adapter .* does not say")
def test_an_adapter_that_does_not_fit_is_refused(base, adapter, damage, message):
    damage(adapter)
    with pytest.raises(AdapterError, match=message):
        load_causal(base.folder, adapter)


def test_an_adapter_of_other_weights_is_refused(base, adapter, tmp_path):
    other = tiny("llama", tmp_path / "other", head=True, rms_norm_eps=1e-3)
    with pytest.raises(AdapterError, match="trained on other base weights"):
        load_causal(other.folder, adapter)


def test_a_checkpoint_without_a_head_is_refused(tmp_path):
    bare = tiny("llama", tmp_path / "bare", tie_word_embeddings=False)
    with pytest.raises(PretrainedError, match="lacks weights of a causal model, 'lm_head.weight'"):
        load_causal(bare.folder)


def test_an_encoder_is_refused(tmp_path):
    with pytest.raises(PretrainedError, match="cannot be loaded as a causal model|lacks weights"):
        load_causal(tiny("distilbert", tmp_path / "encoder").folder)
