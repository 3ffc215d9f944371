"""What YAML sets and what the program offers meet in a brick's constructor; refusals say where."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from legorec.build import build
from tests.support import small


@dataclass
class Block:
    """One brick's settings, as they come out of the YAML."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


def test_a_brick_gets_what_it_names_and_no_more():
    offered = {"catalog": small.catalog(), "num_items": 60, "num_users": 9, "vectors": {}, "input_dim": 16}
    source = build("source", Block("table", {"embed_dim": 24}), offered)
    assert source.dim == 24 and source.catalog is offered["catalog"]
    encoder = build("user_encoder", Block("nrms", {"heads": 2}), offered)
    assert encoder.output_dim == 16 and encoder.clicks.heads == 2


def test_defaults_are_the_constructors():
    assert build("objective", Block("sampled_softmax"), {}).num_negatives == 4


def test_what_cannot_be_offered_is_named():
    with pytest.raises(
        ValueError,
        match=r"model\.source 'ids' needs `num_items` \(how many items.*\), which this model does not",
    ):
        build("source", Block("ids"), {"catalog": small.catalog()})


def test_a_refusal_says_which_brick():
    with pytest.raises(
        ValueError, match=r"model\.user_encoder 'nrms': `heads` must divide `input_dim` \(16\), got 5"
    ):
        build("user_encoder", Block("nrms", {"heads": 5}), {"input_dim": 16})


def test_an_unknown_brick_is_refused():
    with pytest.raises(ValueError, match="no user_encoder 'nrsm'.*did you mean 'nrms'"):
        build("user_encoder", Block("nrsm"), {"input_dim": 16})


def test_a_nested_block_becomes_its_dataclass(tmp_path, monkeypatch):
    (tmp_path / "outside_bricks.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Lora:\n"
        "    rank: int = 4\n"
        "class Tuned:\n"
        "    def __init__(self, input_dim: int, lora: Lora | None = None) -> None:\n"
        "        self.input_dim, self.lora = input_dim, lora\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    brick = build("user_encoder", Block("outside_bricks.Tuned", {"lora": {"rank": 2}}), {"input_dim": 16})
    assert brick.input_dim == 16 and brick.lora.rank == 2
