"""The layout of the language models of each family: what to cut, what to leave out, what LoRA tunes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


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
        causal: a token sees only itself and those before it.
        targets: linear layers that LoRA tunes: queries and values (Hu et al., 2021, section 4.2).
        fused: the targets are stored as (input, output), as in GPT-2.
    """

    model_type: str
    layers: str
    after: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    positions_behind_padding: bool = False
    causal: bool = True
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    fused: bool = False


def _encoder(model_type: str) -> Family:
    """BERT's layout."""
    return Family(
        model_type,
        "encoder.layer",
        embeddings=("embeddings",),
        before=("embeddings_project",),  # in ELECTRA, where the embeddings are narrower
        positions_behind_padding=model_type in ("roberta", "xlm-roberta", "camembert"),
        causal=False,
        targets=("query", "value"),
    )


def _decoder(model_type: str) -> Family:
    """LLaMA's layout: rotary positions inside the layers, one norm after them."""
    return Family(model_type, "layers", after=("norm",))


# A family belongs here once tests/lm/test_cut.py, which runs over this table, finds its cut exact. Families
# that scale their input (Gemma) are missing because the scale would be applied twice.
FAMILIES = {
    family.model_type: family
    for family in (
        *map(_encoder, ("bert", "roberta", "xlm-roberta", "camembert", "electra")),
        Family(
            "distilbert",
            "transformer.layer",
            embeddings=("embeddings",),
            causal=False,
            targets=("q_lin", "v_lin"),
        ),
        *map(_decoder, ("llama", "mistral", "ministral", "qwen2", "qwen3", "olmo", "olmo2", "smollm3")),
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


def family_of(model_type: str, where: str) -> Family:
    """The family of a checkpoint.

    Raises:
        ValueError: the family's cut is not known to be exact.
    """
    if model_type not in FAMILIES:
        raise ValueError(
            f"{where} is a model of type '{model_type}'; known are {', '.join(sorted(FAMILIES))}. To add "
            "another, give it a row in legorec/lm/model_types.py, which tests/lm/test_cut.py then checks"
        )
    return FAMILIES[model_type]


def part(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path; None if the model has none."""
    found: nn.Module | None = model
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def replace(model: nn.Module, path: str, new: nn.Module) -> None:
    """Replace the module at a dotted path; does nothing if the model has none."""
    if part(model, path) is not None:
        owner, _, name = path.rpartition(".")
        setattr(part(model, owner) if owner else model, name, new)
