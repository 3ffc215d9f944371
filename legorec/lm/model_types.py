"""The layout of the language models of each family: what to cut, what to leave out, what LoRA tunes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """The parts of one architecture, as dotted paths in its base model (``AutoModel``).

    Args:
        model_type: as in the checkpoint's ``config.json``.
        layers: the list of layers.
        after: what follows the layers, such as the final norm; kept with the upper layers.
        embeddings: modules that turn tokens into the input of layer 0 and pass ``inputs_embeds`` on to it.
        positions: learned positions that the model would add to ``inputs_embeds`` a second time.
        before: further modules between ``inputs_embeds`` and layer 0 (projections, dropout).
        positions_behind_padding: positions are counted from just after the padding token's id, as in RoBERTa.
        first_position: positions are counted from it, whatever the config says.
        causal: a token sees only itself and those before it.
        targets: linear layers that LoRA tunes: queries and values (Hu et al., 2021, section 4.2).
        fused: the targets are stored as (input, output), as in GPT-2.
        first: modules outside the list that work with its first layer, such as DeBERTa's convolution; not
            there above depth 0.
        layer_outputs: a layer returns a tuple of so many; 0: the states alone.
        scale: an attribute by which the model multiplies what it is given; one in the upper half.
        tried: versions of transformers differ in where they scale the input, so the cut is tried as if there
            were no row.
        own_masks: the model makes the masks of its layers from one of two dimensions, and takes no others.
        short_rows: its attention can be replaced by ``legorec.lm.attention``.
        shares_prefixes: nothing but keys and values goes from one token to the next, so that rows that begin
            alike can be read once up to where they part.
    """

    model_type: str
    layers: str
    after: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    positions_behind_padding: bool = False
    first_position: int = 0
    causal: bool = True
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    fused: bool = False
    first: tuple[str, ...] = ()
    layer_outputs: int = 0
    scale: str = ""
    tried: bool = False
    own_masks: bool = False
    short_rows: bool = True
    shares_prefixes: bool = True


def _encoder(model_type: str) -> Family:
    """BERT's layout."""
    return Family(
        model_type,
        "encoder.layer",
        embeddings=("embeddings",),
        before=("embeddings_project",),  # in ELECTRA, where the embeddings are narrower
        positions_behind_padding=model_type in ("roberta", "xlm-roberta", "camembert", "data2vec-text"),
        causal=False,
        targets=("query", "value"),
    )


def _decoder(model_type: str) -> Family:
    """LLaMA's layout: rotary positions inside the layers, one norm after them."""
    return Family(
        model_type,
        "layers",
        after=("norm",),
        scale="embedding_multiplier" if model_type.startswith("granite") else "",
        tried=model_type in ("gemma", "gemma2", "vaultgemma"),
        # DeepSeek's queries and values go through a narrow place first.
        targets=("q_b_proj", "kv_b_proj") if model_type.startswith("deepseek") else ("q_proj", "v_proj"),
        # Linear attention hands on a state of its own.
        shares_prefixes=not model_type.startswith(("qwen3_next", "qwen3_5")),
    )


def _with_embeddings(model_type: str, **facts: Any) -> Family:
    """ModernBERT's layout: a module for the embeddings, then layers with rotary positions."""
    return Family(model_type, "layers", embeddings=("embeddings",), **facts)


def _deberta(model_type: str, *targets: str) -> Family:
    return Family(
        model_type,
        "encoder.layer",
        embeddings=("embeddings",),
        causal=False,
        targets=targets,
        first=("encoder.conv",),
        layer_outputs=2,
        own_masks=True,
        short_rows=False,
    )


# In LLaMA's layout, whatever their layers are: windows, soft caps, sinks, experts, linear attention.
_DECODERS = (
    *("llama", "mistral", "ministral", "ministral3", "qwen2", "qwen3", "olmo", "olmo2", "olmo3", "smollm3"),
    *("gemma", "gemma2", "gemma3_text", "vaultgemma", "glm", "glm4", "granite", "granitemoe", "gpt_oss"),
    *("mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
    *("olmoe", "glm4_moe", "ernie4_5", "ernie4_5_moe", "deepseek_v2", "deepseek_v3", "phimoe"),
    *("arcee", "apertus", "cohere", "cohere2", "cwm", "exaone4", "helium", "hunyuan_v1_dense", "nemotron"),
    *("seed_oss", "stablelm", "starcoder2"),
)

# A family belongs here once tests/lm/test_cut.py, which runs over this table, finds its cut exact.
FAMILIES = {
    family.model_type: family
    for family in (
        *map(_encoder, ("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "data2vec-text")),
        Family(
            "distilbert",
            "transformer.layer",
            embeddings=("embeddings",),
            causal=False,
            targets=("q_lin", "v_lin"),
        ),
        *map(_decoder, _DECODERS),
        _with_embeddings("modernbert", after=("final_norm",), causal=False, targets=("Wqkv",)),
        _with_embeddings("modernbert-decoder", after=("final_norm",)),
        *(_with_embeddings(name, causal=False) for name in ("nomic_bert", "gte", "jina_embeddings_v3")),
        Family("eurobert", "layers", after=("norm",), causal=False),
        Family(
            "mpnet",
            "encoder.layer",
            embeddings=("embeddings",),
            first_position=2,
            causal=False,
            targets=("q", "v"),
            layer_outputs=1,
            short_rows=False,
        ),
        _deberta("deberta-v2", "query_proj", "value_proj"),
        _deberta("deberta", "in_proj"),
        Family("lfm2", "layers", after=("embedding_norm",), shares_prefixes=False),  # it has convolutions
        Family("phi", "layers", after=("final_layernorm",), before=("embed_dropout",)),
        Family("phi3", "layers", after=("norm",), targets=("qkv_proj",)),
        Family(
            "gpt2",
            "h",
            after=("ln_f",),
            positions=("wpe",),
            before=("drop",),
            targets=("c_attn",),
            fused=True,
        ),
        Family(
            "gpt_neox",
            "layers",
            after=("final_layer_norm",),
            before=("emb_dropout",),
            targets=("query_key_value",),
        ),
        Family(
            "opt",
            "decoder.layers",
            after=("decoder.final_layer_norm", "decoder.project_out"),
            positions=("decoder.embed_positions",),
            before=("decoder.project_in",),
        ),
    )
}


# Why the cut of a type cannot be exact, of those that are likely to be asked for.
REFUSED = {
    "albert": "its layers share their weights, so none could be tuned without those below it",
    "convbert": "its convolutions read the padding behind a row, so a row depends on the others of its batch",
    "fnet": "it takes no mask: a row depends on the padding behind it",
    "gemma3n_text": "each of its layers reads the token ids again, which the states below it do not hold",
    "llama4_text": "transformers keeps it under another name than it says, so its weights are not found",
    "nanochat": "one and the same norm works below and above its layers, so neither half can do without it",
}


def refuse_type(model_type: str, where: str) -> None:
    """Refuse a type whose cut cannot be exact, or for which transformers has no text model.

    Raises:
        ValueError: it is one of those.
    """
    if model_type in FAMILIES:
        return
    why = REFUSED.get(model_type) or _unbuildable(model_type)
    if why:
        raise ValueError(
            f"{where} is a model of type '{model_type}': {why}. docs/language-models.md has the types that "
            "are known; another needs a row in legorec/lm/model_types.py, see docs/add-a-brick.md"
        )


def _unbuildable(model_type: str) -> str:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if model_type not in CONFIG_MAPPING:
        return "transformers does not have it"
    config = CONFIG_MAPPING[model_type]
    text = getattr(config, "sub_configs", {}).get("text_config")
    if text is not None:
        name = getattr(text, "model_type", "")
        of_type = f", of type '{name}'" if name else ""
        return f"it reads more than text; save its language model alone{of_type}, and name that folder"
    return "" if config in MODEL_MAPPING else "transformers has no AutoModel for it"


def part(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path; None if the model has none."""
    found: nn.Module | None = model
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def layers_at(model: nn.Module, path: str) -> nn.ModuleList:
    """The list of layers, which is there."""
    found = part(model, path)
    assert isinstance(found, nn.ModuleList)
    return found


def replace(model: nn.Module, path: str, new: nn.Module | None) -> None:
    """Replace the module at a dotted path; does nothing if the model has none."""
    if part(model, path) is not None:
        owner, _, name = path.rpartition(".")
        setattr(part(model, owner) if owner else model, name, new)


class PassThrough(nn.Module):
    """Takes the place of a layer.

    Args:
        outputs: as ``Family.layer_outputs``.
    """

    def __init__(self, layer: nn.Module, outputs: int = 0) -> None:
        super().__init__()
        self.outputs = outputs
        for name, value in vars(layer).items():
            # Some models read the layer's kind to choose its mask.
            if isinstance(value, str) and not hasattr(self, name):
                setattr(self, name, value)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor | None, ...]:
        return (hidden_states, *[None] * (self.outputs - 1)) if self.outputs else hidden_states
