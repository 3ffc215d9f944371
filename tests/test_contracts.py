"""What every brick of the registry must do, whoever wrote it."""

import inspect
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from legorec import registry
from legorec.batch import TokenStates, TokenVectors
from legorec.data.catalog import Catalog, CatalogField, Tokens
from legorec.data.ragged import Ragged
from legorec.engine.optim import trainable
from legorec.lm.lora import LoRA
from legorec.lm.pretrained import Pretrained
from tests.language_runs import NO_DROPOUT, text_catalog
from tests.lm.tiny import tiny

NUM_ITEMS, DIM = 12, 16
SMALL = {
    **{"embed_dim": DIM, "hidden_dim": DIM, "attention_dim": 8, "heads": 4, "dropout": 0.0},
    "lora": LoRA(enabled=False),  # an untrained adapter has no gradient in its first half
}
LANGUAGE_MODELS = {"states": "llama", "llama": "llama", "bert": "bert"}
FOLDERS = tempfile.TemporaryDirectory()
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def catalog() -> Catalog:
    """Titles of 0 to 6 words, a category that one item lacks, tags; item 3 has nothing at all."""
    rng = np.random.default_rng(0)
    fields, rows = [], []
    for name, kind, size, longest in (
        ("title", "text", 30, 6),
        ("category", "category", 5, 1),
        ("tags", "categories", 7, 3),
    ):
        lengths = (
            np.ones(NUM_ITEMS, dtype=np.int64) if longest == 1 else rng.integers(0, longest + 1, NUM_ITEMS)
        )
        lengths[3] = 0
        values = rng.integers(0, size, int(lengths.sum())).astype(np.int32)
        rows.append(Ragged.from_lengths(values, lengths))
        fields.append(CatalogField(name, kind, name, size, longest))
    return Catalog(fields, rows)


def kinds_of(name: str) -> list[str]:
    return ["id"] if name == "single" else [field.kind for field in catalog().fields]


@cache
def language_model(model_type: str) -> Pretrained:
    """A tiny one without dropout."""
    return tiny(model_type, Path(FOLDERS.name) / model_type, **NO_DROPOUT)


def construct(kind: str, name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A small brick without dropout, from what the program offers."""
    torch.manual_seed(seed)
    brick = registry.find(kind, name)
    offered = {
        "catalog": catalog(),
        "input_dim": DIM,
        "output_dim": DIM,
        "num_items": NUM_ITEMS,
        "num_users": 9,
        "field_kinds": kinds_of(name),
        "vectors": {"items": TokenVectors(np.ones((NUM_ITEMS, DIM), dtype=np.float32), frozen=False)}
        if name == "vectors"
        else {},
    }
    if name in LANGUAGE_MODELS:
        model = language_model(LANGUAGE_MODELS[name])
        offered |= {"pretrained": model, "depth": 1}
        if kind == "source":
            offered |= {"catalog": text_catalog(NUM_ITEMS), "checkpoint": str(model.folder), "layer": 1}
    asked = {part.name for part in brick.parameters}
    arguments = {key: value for key, value in (offered | SMALL | changes).items() if key in asked}
    return registry.load(brick)(**arguments)


def states(name: str, seed: int = 0) -> TokenStates:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.ones(NUM_ITEMS, 1, dtype=torch.int64) if name == "single" else catalog().lengths
    return TokenStates(
        torch.randn(int(lengths.numpy().sum()), DIM, generator=generator).requires_grad_(), lengths
    )


def clicks(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five histories of 0, 1, 4, 6 and 2 clicks, padded to 7, with garbage where masked."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.tensor([0, 1, 4, 6, 2]).unsqueeze(1)
    vectors = torch.randn(5, 7, DIM, generator=generator)
    return torch.where(mask.unsqueeze(2), vectors, 1e4), mask


def inputs(kind: str, name: str) -> tuple[Any, ...]:
    if kind == "source":
        return (torch.arange(NUM_ITEMS),)
    if kind == "item_encoder":
        return (states(name),)
    if kind == "user_encoder":
        return clicks()
    generator = torch.Generator().manual_seed(1)
    user, candidates = (torch.randn(*shape, DIM, generator=generator) for shape in ((5,), (5, 3)))
    return user.requires_grad_(), candidates.requires_grad_()


def run(kind: str, name: str, brick: nn.Module) -> Tensor:
    """The brick's output, with random values for what else its forward needs."""
    extras = {}
    offered = {"user": torch.arange(5), "clicks": clicks()[0], "mask": clicks()[1]}
    for part in list(inspect.signature(brick.forward).parameters.values())[len(inputs(kind, name)) :]:
        if part.name in offered:
            extras[part.name] = offered[part.name]
    out = brick(*inputs(kind, name), **extras)
    return out.values if isinstance(out, TokenStates) else out


BRICKS = [
    (kind, name)
    for kind in ("source", "item_encoder", "user_encoder", "predictor")
    for name in registry.names(kind)
]


def of(kind: str) -> list[str]:
    return [name for each, name in BRICKS if each == kind]


def test_every_kind_has_a_brick():
    assert {kind for kind, _ in BRICKS} == {"source", "item_encoder", "user_encoder", "predictor"}
    assert len(BRICKS) >= 9


@pytest.mark.parametrize("kind, name", BRICKS)
def test_constructor_is_flat_and_forward_annotated(kind, name):
    brick = registry.load(registry.find(kind, name))
    parameters = inspect.signature(brick.__init__).parameters.values() if "__init__" in vars(brick) else ()
    assert not any(part.kind in (part.VAR_KEYWORD, part.VAR_POSITIONAL) for part in parameters)
    hints = inspect.get_annotations(brick.forward)
    assert set(hints) == {*inspect.signature(brick.forward).parameters, "return"} - {"self"}
    assert issubclass(brick, nn.Module) and len(brick.__mro__) <= len(nn.Module.__mro__) + 2


@pytest.mark.parametrize("kind, name", BRICKS)
def test_every_trainable_parameter_gets_a_finite_gradient(kind, name):
    brick = construct(kind, name)
    out = run(kind, name, brick)
    assert out.isfinite().all()
    out.square().sum().backward()
    for parameter_name, parameter in brick.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, parameter_name
            continue
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), parameter_name


@pytest.mark.parametrize("kind, name", BRICKS)
def test_state_dict_round_trip(kind, name):
    brick, other = construct(kind, name, seed=0), construct(kind, name, seed=1)
    other.load_state_dict(brick.state_dict())
    assert torch.equal(run(kind, name, brick), run(kind, name, other))


@pytest.mark.parametrize("kind, name", BRICKS)
def test_autocast_to_bfloat16(kind, name):
    brick = construct(kind, name)
    full = run(kind, name, brick)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = run(kind, name, brick)
    assert half.isfinite().all()
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.05 * full.abs().max().item())
    half.float().square().sum().backward()
    assert all(value.grad.isfinite().all() for value in trainable(brick).values())


@pytest.mark.parametrize("kind, name", BRICKS)
def test_float64(kind, name):
    if kind == "source":
        pytest.skip("sources look up what their tables hold")
    brick = construct(kind, name).double()
    args = [
        TokenStates(part.values.double(), part.lengths)
        if isinstance(part, TokenStates)
        else part.double()
        if part.is_floating_point()
        else part
        for part in inputs(kind, name)
    ]
    if len(inspect.signature(brick.forward).parameters) == len(args):
        assert brick(*args).dtype == torch.float64


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a device: values as numbers, sizes that depend on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        assert name not in (
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "unique",
            "_unique2",
            "equal",
        ), name
        if name in ("index", "index_put", "index_put_"):
            assert all(part is None or part.dtype != torch.bool for part in args[1]), "index by a mask"
        return func(*args, **(kwargs or {}))


class ReadyCatalog:
    """Tokens looked up beforehand: what the catalogue does on the host is its own affair."""

    def __init__(self, tokens: Tokens) -> None:
        self.fields = catalog().fields
        self.ready = tokens

    def tokens(self, items: Tensor) -> Tokens:
        return self.ready


@pytest.mark.parametrize("kind, name", BRICKS)
def test_nothing_waits_for_the_device(kind, name):
    brick = construct(kind, name, dropout=0.1)
    if kind == "source" and hasattr(brick, "catalog"):
        brick.catalog = ReadyCatalog(brick.catalog.tokens(torch.arange(NUM_ITEMS)))
    with NoWaiting():
        run(kind, name, brick).square().sum().backward()


def test_waiting_is_noticed():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.ones(1).item()


@pytest.mark.parametrize("kind, name", BRICKS)
def test_gradients_repeat_bit_by_bit(kind, name):
    grads = []
    for _ in range(3):
        brick = construct(kind, name)
        run(kind, name, brick).square().sum().backward()
        grads.append([parameter.grad for parameter in trainable(brick).values()])
    assert all(
        torch.equal(one, other) for again in grads[1:] for one, other in zip(grads[0], again, strict=True)
    )


@pytest.mark.parametrize("name", of("source"))
def test_source_gives_packed_states(name):
    source = construct("source", name)
    out = source(torch.arange(NUM_ITEMS))
    assert out.lengths.device.type == "cpu" and out.lengths.dtype == torch.int64
    assert out.lengths.shape[0] == NUM_ITEMS
    assert out.values.shape == (int(out.lengths.sum()), source.dim)
    assert source(torch.arange(0)).values.shape == (0, source.dim)


@pytest.mark.parametrize("name", of("source"))
def test_source_knows_items_in_any_order(name):
    source = construct("source", name)
    whole = source(torch.arange(NUM_ITEMS))
    rows = whole.values.split(whole.lengths.sum(1).tolist())
    order = torch.tensor([5, 3, 0, 5])
    some = source(order)
    assert torch.equal(some.lengths, whole.lengths[order])
    assert torch.equal(some.values, torch.cat([rows[item] for item in order.tolist()]))


def some_items(whole: TokenStates, items: list[int]) -> TokenStates:
    rows = whole.values.split(whole.lengths.sum(1).tolist())
    return TokenStates(torch.cat([rows[item] for item in items]), whole.lengths[items])


@pytest.mark.parametrize("name", of("item_encoder"))
def test_item_vector_does_not_depend_on_its_company(name):
    encoder = construct("item_encoder", name).eval()
    whole = states(name)
    vectors = encoder(whole)
    assert vectors.shape == (NUM_ITEMS, encoder.output_dim)
    for page in ([4], [7, 3, 0], list(range(NUM_ITEMS))[::-1]):
        torch.testing.assert_close(encoder(some_items(whole, page)), vectors[page], **CLOSE)


@pytest.mark.parametrize("name", of("item_encoder"))
def test_item_without_tokens_is_zero(name):
    encoder = construct("item_encoder", name)
    whole = states(name)
    lengths = whole.lengths.clone()
    lengths[3] = 0
    values = torch.cat(
        [row for item, row in enumerate(whole.values.split(whole.lengths.sum(1).tolist())) if item != 3]
    )
    values = values.detach().requires_grad_()
    vectors = encoder(TokenStates(values, lengths))
    assert vectors.isfinite().all() and not vectors[3].any() and vectors[4].any()
    vectors.square().sum().backward()
    assert values.grad.isfinite().all()
    nothing = encoder(TokenStates(values[:0], torch.zeros_like(lengths[:2])))
    assert nothing.shape == (2, encoder.output_dim) and not nothing.any()
    assert encoder(TokenStates(values[:0], lengths[:0])).shape == (0, encoder.output_dim)


@pytest.mark.parametrize("name", of("user_encoder"))
def test_user_vector_does_not_depend_on_padding(name):
    encoder = construct("user_encoder", name).eval()
    vectors_BHD, mask = clicks()
    users = encoder(vectors_BHD, mask)
    assert users.shape[0] == 5 and users.shape[-1] == encoder.output_dim
    other = torch.where(mask.unsqueeze(2), vectors_BHD, -7.0)
    assert torch.equal(encoder(other, mask), users)
    wider = torch.cat([vectors_BHD, torch.full((5, 4, DIM), 3.0)], 1)
    wider_mask = torch.cat([mask, torch.zeros(5, 4, dtype=torch.bool)], 1)
    torch.testing.assert_close(encoder(wider, wider_mask), users, **CLOSE)
    torch.testing.assert_close(encoder(vectors_BHD[2:3, :4], mask[2:3, :4]), users[2:3], **CLOSE)


@pytest.mark.parametrize("name", of("user_encoder"))
def test_empty_history_is_zero(name):
    encoder = construct("user_encoder", name)
    vectors_BHD, mask = clicks()
    vectors_BHD.requires_grad_()
    users = encoder(vectors_BHD, mask)
    assert users.isfinite().all() and not users[0].any() and users[1].any()
    users.square().sum().backward()
    assert vectors_BHD.grad.isfinite().all()
    assert not vectors_BHD.grad[~mask].any()
    assert not encoder(vectors_BHD[:2], torch.zeros_like(mask[:2])).any()
    nobody = encoder(vectors_BHD[:, :0], mask[:, :0])
    assert len(nobody) == 5 and not nobody.any()


@pytest.mark.parametrize("name", of("predictor"))
def test_predictor_scores_each_candidate_alone(name):
    predictor = construct("predictor", name).eval()
    user, candidates = inputs("predictor", name)
    scores = run("predictor", name, predictor)
    assert scores.shape == (5, 3)
    if len(inspect.signature(predictor.forward).parameters) == 2:
        torch.testing.assert_close(predictor(user, candidates[:, 1:2]), scores[:, 1:2], **CLOSE)


def test_a_brick_alone_loads_little():
    command = (
        "import sys; from legorec.user_encoders.nrms import NRMSUserEncoder; "
        "print(*{'transformers', 'yaml', 'pydantic', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
