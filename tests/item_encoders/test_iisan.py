"""``iisan`` layer by layer, in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from legorec.batch import TokenStates
from legorec.item_encoders.iisan import IISANItemEncoder

E, D, DEPTH = 6, 5, 4
LENGTHS = torch.tensor([[DEPTH], [0], [DEPTH], [DEPTH], [0]])


def states(seed: int = 0) -> TokenStates:
    generator = torch.Generator().manual_seed(seed)
    return TokenStates(torch.randn(int(LENGTHS.sum()), E, generator=generator, dtype=torch.float64), LENGTHS)


def encoder(**options: int) -> IISANItemEncoder:
    """One that has learned something: nothing is where it began."""
    torch.manual_seed(0)
    made = IISANItemEncoder(E, DEPTH, D, adapter_dim=3, **options).double()
    for value in made.parameters():
        torch.nn.init.normal_(value, std=0.7)
    return made


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def expected(made: IISANItemEncoder, layers: np.ndarray) -> np.ndarray:
    """Of one item's layers (DEPTH, E)."""
    weights = {name: value.detach().numpy() for name, value in made.named_parameters()}
    if "shared.weight" in weights:
        layers = layers @ weights["shared.weight"].T
    if "own.0.weight" in weights:
        layers = np.stack([weights[f"own.{place}.weight"] @ row for place, row in enumerate(layers)])
    joined = layers[0]
    for place in range(DEPTH - 1):
        gate = 1 / (1 + np.exp(-weights["gates"][place]))
        mixed = gate * joined + (1 - gate) * layers[place + 1]
        block = {
            name.split(".", 2)[2]: value
            for name, value in weights.items()
            if name.startswith(f"blocks.{place}.")
        }
        inside = np.maximum(block["down.weight"] @ mixed + block["down.bias"], 0)
        joined = norm(
            mixed + block["up.weight"] @ inside + block["up.bias"], block["norm.weight"], block["norm.bias"]
        )
    return weights["dense.weight"] @ joined + weights["dense.bias"]


@pytest.mark.parametrize("options", [{}, {"global_dim": 7}, {"local_dim": 7}], ids=str)
def test_each_layer_is_mixed_in_and_goes_through_a_block(options):
    made, given = encoder(**options), states()
    vectors = made(given)
    assert vectors.shape == (len(LENGTHS), D) and made.output_dim == D
    rows = iter(given.values.view(-1, DEPTH, E).numpy())
    for vector, length in zip(vectors.detach().numpy(), LENGTHS[:, 0].tolist(), strict=True):
        wanted = expected(made, next(rows)) if length else np.zeros(D)
        np.testing.assert_allclose(vector, wanted, rtol=1e-10, atol=1e-12)


def test_projections_have_no_bias_and_one_is_shared():
    names = {name for name, _ in encoder(global_dim=7).named_parameters()}
    assert "shared.weight" in names
    assert not any(name.startswith("own") or name == "shared.bias" for name in names)
    names = {name for name, _ in encoder(local_dim=7).named_parameters()}
    assert {f"own.{place}.weight" for place in range(DEPTH)} <= names
    assert not any("shared" in name or name == "own.0.bias" for name in names)


def test_it_begins_with_equal_shares_of_what_came_and_the_layer():
    """Gates of 1/2, and blocks that are little but their norm."""
    torch.manual_seed(0)
    made = IISANItemEncoder(E, 2, E, adapter_dim=3)
    assert torch.equal(made.gates.sigmoid(), torch.tensor([0.5]))
    layers = torch.randn(3, 2, E)
    joined = made._joined(layers)
    torch.testing.assert_close(joined, torch.layer_norm(layers.mean(1), (E,)), rtol=0, atol=1e-2)


def test_every_layer_reaches_the_item():
    made, given = encoder(), states()
    values = given.values.requires_grad_()
    made(TokenStates(values, LENGTHS)).square().sum().backward()
    assert (values.grad.abs().sum(1) > 0).all()


def test_states_of_another_dtype_are_taken():
    given = states()
    made = encoder().float()
    half = made(TokenStates(given.values.bfloat16(), LENGTHS))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, made(TokenStates(given.values.float(), LENGTHS)), rtol=0.1, atol=0.1)


def refused(message: str, *arguments: int, **options: int) -> None:
    with pytest.raises(ValueError, match=message):
        IISANItemEncoder(*arguments, **options)


def test_refusals():
    both = {"global_dim": 4, "local_dim": 3}
    refused("`global_dim` and `local_dim` exclude each other, got 4 and 3", E, DEPTH, **both)
    refused("`depth` must be at least 2, .* got 1", E, 1)
    some: Tensor = torch.tensor([[DEPTH], [2]])
    with pytest.raises(ValueError, match=r"must have 4 layers \(`depth`\) or none, got \[2, 4\]"):
        encoder()(TokenStates(torch.zeros(DEPTH + 2, E), some))
