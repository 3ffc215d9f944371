"""What every brick of the registry must do, whoever wrote it."""

import inspect
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from legorec import registry
from legorec.batch import TokenStates
from legorec.data.catalog import Tokens
from legorec.engine.optim import trainable
from tests.support.bricks import (
    BRICKS,
    DIM,
    KINDS,
    NUM_ITEMS,
    catalog,
    clicks,
    construct,
    doubled,
    encoded,
    gives,
    inputs,
    of,
    predictor_extras,
    prepared,
    run,
    states,
    user_extras,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def test_every_kind_has_a_brick():
    assert {kind for kind, _ in BRICKS} == set(KINDS)
    assert len(BRICKS) >= 40


@pytest.mark.parametrize("kind, name", BRICKS)
def test_constructor_is_flat_and_forward_annotated(kind, name):
    brick = registry.load(registry.find(kind, name))
    parameters = inspect.signature(brick.__init__).parameters.values() if "__init__" in vars(brick) else ()
    assert not any(part.kind in (part.VAR_KEYWORD, part.VAR_POSITIONAL) for part in parameters)
    hints = inspect.get_annotations(brick.forward)
    assert set(hints) == {*inspect.signature(brick.forward).parameters, "return"} - {"self"}
    assert issubclass(brick, nn.Module) and len(brick.__mro__) <= len(nn.Module.__mro__) + 2


def backward(out: Tensor, brick: nn.Module) -> None:
    """Gradients of the sum of squares; nothing for a source that looks up what nothing changes."""
    if out.requires_grad:
        out.square().sum().backward()
    else:
        assert not trainable(brick)


@pytest.mark.parametrize("kind, name", BRICKS)
def test_every_trainable_parameter_gets_a_finite_gradient(kind, name):
    brick = construct(kind, name)
    out = run(kind, name, brick)
    assert out.isfinite().all()
    backward(out, brick)
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
    backward(half.float(), brick)
    assert all(value.grad.isfinite().all() for value in trainable(brick).values())


@pytest.mark.parametrize("kind, name", BRICKS)
def test_float64(kind, name):
    if kind == "source":
        pytest.skip("sources look up what their tables hold")
    brick = construct(kind, name).double()
    args = [doubled(part) for part in inputs(kind, name)]
    assert run(kind, name, brick, *args, wide=True).dtype == torch.float64


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
    call = prepared(kind, name, brick)
    with NoWaiting():
        backward(call(), brick)


def test_waiting_is_noticed():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.ones(1).item()


@pytest.mark.parametrize("kind, name", BRICKS)
def test_gradients_repeat_bit_by_bit(kind, name):
    grads = []
    for _ in range(3):
        brick = construct(kind, name)
        backward(run(kind, name, brick), brick)
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
    # What a language model computes depends on its company in the last digit.
    torch.testing.assert_close(some.values, torch.cat([rows[item] for item in order.tolist()]), **CLOSE)


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
def test_r19_item_without_tokens_is_zero(name):
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
    users = encoded(name, encoder, vectors_BHD, mask)
    assert users.shape[0] == 5 and users.shape[-1] == encoder.output_dim == DIM
    assert users.dim() == (2 if gives(name) == "vector" else 3)
    other = torch.where(mask.unsqueeze(2), vectors_BHD, -7.0)
    assert torch.equal(encoded(name, encoder, other, mask), users)
    wider = torch.cat([vectors_BHD, torch.full((5, 4, DIM), 3.0)], 1)
    wider_mask = torch.cat([mask, torch.zeros(5, 4, dtype=torch.bool)], 1)
    width = 7 if gives(name) == "clicks" else users.shape[1]
    same = encoded(name, encoder, wider, wider_mask)
    torch.testing.assert_close(same[:, :width], users, **CLOSE)
    assert not same[:, width:].any()
    alone = encoded(name, encoder, vectors_BHD[2:3, :4], mask[2:3, :4], slice(2, 3))
    torch.testing.assert_close(alone, users[2:3, : alone.shape[1]], **CLOSE)


@pytest.mark.parametrize("name", of("user_encoder"))
def test_r19_empty_history_is_zero(name):
    """Zero, or finite where the encoder knows the user besides."""
    encoder = construct("user_encoder", name)
    knows = "user" in registry.extras(registry.find("user_encoder", name))
    vectors_BHD, mask = clicks()
    vectors_BHD.requires_grad_()
    users = encoded(name, encoder, vectors_BHD, mask)
    assert users.isfinite().all() and users[1].any()
    assert knows or not users[0].any()
    users.square().sum().backward()
    if vectors_BHD.grad is not None:  # some read other things of the clicks
        assert vectors_BHD.grad.isfinite().all()
        assert not vectors_BHD.grad[~mask].any()
    nobody = encoded(name, encoder, vectors_BHD[:, :0], mask[:, :0])
    assert len(nobody) == 5 and nobody.isfinite().all() and (knows or not nobody.any())


@pytest.mark.parametrize("name", of("user_plugin"))
@pytest.mark.parametrize("shape", [(5, DIM), (5, 4, DIM)])
def test_a_plugin_joins_every_vector_of_a_user_alike(name, shape):
    plugin = construct("user_plugin", name).eval()
    users, known = torch.randn(*shape), user_extras()["user"]
    out = plugin(users, known)
    assert out.shape == users.shape
    alone = torch.cat([plugin(users[row : row + 1], known[row : row + 1]) for row in range(5)])
    torch.testing.assert_close(alone, out, **CLOSE)
    if len(shape) == 3:
        torch.testing.assert_close(plugin(users[:, 1], known), out[:, 1], **CLOSE)


@pytest.mark.parametrize("name", of("predictor"))
def test_predictor_scores_each_candidate_alone(name):
    predictor = construct("predictor", name).eval()
    user, candidates = inputs("predictor", name)
    scores = run("predictor", name, predictor)
    assert scores.shape == (5, 3) and scores.isfinite().all()
    asked, offered = registry.extras(registry.find("predictor", name)), predictor_extras()
    for part in ("candidate_items", "candidate_mask"):
        offered[part] = offered[part][:, 1:2]
    alone = predictor(user, candidates[:, 1:2], **{each: offered[each] for each in asked})
    torch.testing.assert_close(alone, scores[:, 1:2], **CLOSE)


@pytest.mark.parametrize("name", of("predictor"))
def test_predictor_does_not_look_at_masked_clicks(name):
    predictor = construct("predictor", name).eval()
    asked, offered = registry.extras(registry.find("predictor", name)), predictor_extras()
    user, candidates = inputs("predictor", name)
    scores = run("predictor", name, predictor)
    mask = offered["mask"]
    offered["clicks"] = torch.where(mask.unsqueeze(2), offered["clicks"], -7.0)
    offered["click_items"] = offered["click_items"].masked_fill(~mask, 1)
    again = predictor(user, candidates, **{each: offered[each] for each in asked})
    torch.testing.assert_close(again, scores, **CLOSE)
    nothing = offered | {"mask": torch.zeros_like(mask)}
    if "click_weights" in asked:
        nothing["click_weights"] = torch.zeros_like(offered["click_weights"])
    assert (
        predictor(torch.zeros_like(user), candidates, **{each: nothing[each] for each in asked})
        .isfinite()
        .all()
    )


def test_a_brick_alone_loads_little():
    command = (
        "import sys; from legorec.user_encoders.nrms import NRMSUserEncoder; "
        "print(*{'transformers', 'yaml', 'pydantic', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
