"""The token table is the checkpoint's own, and an item's vector is the whole model's states, pooled."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from torch.nn import functional as F

from legorec.data.ragged import Ragged
from legorec.data.vectors import Rows
from legorec.data.writing.progress import Progress
from legorec.lm import tables
from legorec.lm.stream_plan import Streaming
from legorec.lm.tables import POOLS, item_vectors, randomly_projected, token_table
from tests.lm.test_build_streamed import sampled
from tests.support.short_memory import shorten
from tests.support.tiny import difference, packed_ids, states_of, tiny, whole

LENGTHS = [3, 0, 7, 1, 7, 2, 0, 30, 5]


def items() -> Ragged:
    return Ragged.from_lengths(packed_ids(LENGTHS)[0].int().numpy(), LENGTHS)


def pooled(states: torch.Tensor, pool: str) -> torch.Tensor:
    """One item by hand; an empty one has zeros."""
    if not len(states):
        return torch.zeros(states.shape[1])
    return {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pool]


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "opt"])
def test_item_vectors_are_the_whole_models(checkpoint, model_type: str, pool: str) -> None:
    pretrained = checkpoint(model_type)
    states = states_of(whole(pretrained), *packed_ids(LENGTHS)).split(LENGTHS)
    expected = torch.stack([pooled(each, pool) for each in states])
    for budget in (1, 20, 8192):
        found = item_vectors(pretrained, items(), pool, token_budget=budget)
        assert found.dtype == torch.float32 and not found.requires_grad
        assert difference(found, expected) < 1e-5
    normal = item_vectors(pretrained, items(), pool, normalize=True)
    assert difference(normal, torch.nn.functional.normalize(expected)) < 1e-5
    assert not normal[1].any()


@pytest.mark.parametrize("model_type, pool", [("bert", "cls"), ("bert", "mean"), ("llama", "last")])
def test_batches_and_padding_change_nothing(checkpoint, model_type: str, pool: str) -> None:
    """One row in each batch, some together, and all, against each item on its own."""
    pretrained = checkpoint(model_type)
    states = states_of(whole(pretrained), *packed_ids(LENGTHS)).split(LENGTHS)
    expected = torch.stack([pooled(each, pool) for each in states])
    for budget in (1, 20, 8192):
        found = item_vectors(pretrained, items(), pool, token_budget=budget)
        assert difference(found, expected) < 1e-5


def test_the_last_token_is_that_of_a_batch_padded_on_the_left(checkpoint) -> None:
    """As libraries for text encoders compute it: the last place of every row is a real token there."""
    pretrained = checkpoint("llama")
    rows = [torch.from_numpy(row).long() for row in items() if len(row)]
    longest = max(map(len, rows))
    ids = torch.stack([F.pad(row, (longest - len(row), 0), value=1) for row in rows])
    mask = torch.stack([F.pad(torch.ones(len(row)).long(), (longest - len(row), 0)) for row in rows])
    with torch.no_grad():
        places = (mask.cumsum(1) - 1).clamp_min(0)
        out = whole(pretrained)(input_ids=ids, attention_mask=mask, position_ids=places).last_hidden_state
    found = item_vectors(pretrained, items(), "last")
    assert difference(found[torch.tensor(LENGTHS) > 0], out[:, -1]) < 1e-5


def test_vectors_are_cut_before_they_are_scaled(checkpoint) -> None:
    pretrained = checkpoint("bert")
    full = item_vectors(pretrained, items(), "mean")
    assert torch.equal(item_vectors(pretrained, items(), "mean", width=8), full[:, :8])
    found = item_vectors(pretrained, items(), "mean", width=8, normalize=True)
    assert torch.equal(found, F.normalize(full[:, :8]))
    assert found.norm(dim=1).tolist() == pytest.approx([float(length > 0) for length in LENGTHS])
    assert torch.equal(item_vectors(pretrained, items(), "mean", width=32), full)


@pytest.mark.parametrize("model_type", sampled(["bert", "llama", "gpt2", "opt", "modernbert"], ["llama"]))
def test_layers_read_one_at_a_time_give_the_same_bytes(checkpoint, model_type: str) -> None:
    pretrained = checkpoint(model_type)
    for dtype, budget in (("fp32", 20), ("bf16", 60)):
        whole = item_vectors(pretrained, items(), "mean", dtype=dtype, token_budget=budget)
        for streaming in (Streaming(True, 2), Streaming(False, 1), Streaming(True, 99)):
            found = item_vectors(
                pretrained, items(), "mean", dtype=dtype, token_budget=budget, streaming=streaming
            )
            assert torch.equal(found, whole)


def test_a_batch_that_does_not_fit_is_halved_between_two_layers(checkpoint, monkeypatch) -> None:
    pretrained, said = checkpoint("llama"), io.StringIO()
    expected = item_vectors(pretrained, items(), "last", token_budget=7)
    shorten(monkeypatch, "layer tokens", 30)
    found = item_vectors(
        pretrained, items(), "last", token_budget=60, streaming=Streaming(True, 9), progress=Progress(said)
    )
    assert difference(found, expected) < 1e-5
    assert "out of memory with --token_budget 60; going on with --token_budget" in said.getvalue()


def test_a_narrower_output_is_taken(checkpoint) -> None:
    pretrained = checkpoint("opt", word_embed_proj_dim=16)
    assert item_vectors(pretrained, items(), "mean").shape == (len(LENGTHS), 16)


def test_reduced_precision_is_near_and_comes_out_in_fp32(checkpoint) -> None:
    pretrained = checkpoint("bert")
    found = item_vectors(pretrained, items(), "mean", dtype="bf16")
    assert found.dtype == torch.float32
    assert 0 < difference(found, item_vectors(pretrained, items(), "mean")) < 0.1


def test_batches_keep_to_the_budget() -> None:
    rows = items()
    batches = list(tables._batches(rows.lengths, 15))
    assert sorted(row for batch in batches for row in batch) == [0, 2, 3, 4, 5, 7, 8]
    for batch in batches:
        assert len(batch) == 1 or rows.lengths[batch].max() * len(batch) <= 15


def test_no_items_at_all(checkpoint) -> None:
    assert item_vectors(checkpoint("bert"), Ragged.from_lists([]), "mean").shape == (0, 32)


def test_refusals(checkpoint) -> None:
    bert = checkpoint("bert")
    with pytest.raises(ValueError, match=r"`pool` must be one of mean, cls, last, got 'max'"):
        item_vectors(bert, items(), "max")
    with pytest.raises(ValueError, match=r"`token_budget` must be at least 1, got 0"):
        item_vectors(bert, items(), "mean", token_budget=0)
    for width in (0, 33):
        with pytest.raises(ValueError, match=rf"`width` must be between 1 and 32, .* got {width}"):
            item_vectors(bert, items(), "mean", width=width)
    long = Ragged.from_lists([[5] * 65])
    with pytest.raises(ValueError, match=r"longest item has 65 tokens, .* at most 64; .* as in {title:20}"):
        item_vectors(bert, long, "mean")


@pytest.mark.parametrize("options", [{}, {"head": True}, {"sharded": True}])
def test_token_table_is_the_checkpoints_in_full(tmp_path: Path, options: dict[str, bool]) -> None:
    """The model's table has 97 rows, its tokenizer 3 tokens."""
    pretrained = tiny("llama", tmp_path, **options)
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table, rows = token_table(pretrained)
    assert torch.equal(table, whole(pretrained).get_input_embeddings().weight)
    assert rows == Rows.of_tokens(tokenizer) and rows.count == 3
    half, _ = token_table(pretrained, "bf16")
    assert half.dtype == torch.bfloat16 and torch.equal(half, table.bfloat16())


def test_a_random_projection_is_one_matrix_of_the_seed() -> None:
    vectors = torch.randn(40, 64)
    found = randomly_projected(vectors, 1)
    assert torch.equal(found, randomly_projected(vectors, 1))
    assert not torch.allclose(found, randomly_projected(vectors, 2))
    assert torch.allclose(randomly_projected(2 * vectors[:3], 1), 2 * found[:3], atol=1e-5)
    assert 0.8 < float(found.norm() / vectors.norm()) < 1.2
