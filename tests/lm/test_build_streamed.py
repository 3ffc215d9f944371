"""Layers read one at a time write the caches of the model in one piece, to the byte (R9, R18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from legorec.data.catalog import Catalog
from legorec.data.ragged import Ragged
from legorec.halving import NoMemoryError
from legorec.lm.build_cache import build_caches
from legorec.lm.build_streamed import stream_caches
from legorec.lm.cut import LowerLayers
from legorec.lm.item_states import cache_identity, mean_rows
from legorec.lm.model_types import FAMILIES
from legorec.lm.pretrained import Pretrained, PretrainedError
from legorec.lm.state_cache import CacheWriter
from legorec.lm.streamed import StreamedLayers
from tests.lm.test_cut import UNEVEN, layer_names, without
from tests.support.language_runs import text_catalog
from tests.support.short_memory import shorten

DEPTHS = [1, 3]
CATALOG = text_catalog(12)
BUDGET = 9  # several batches a shard
KINDS = {"states": False, "means": True}


QUICK = ["llama", "bert"]


def sampled(names: Iterable[str], quick: Sequence[str]) -> list[Any]:
    """All names, those that are not quick marked as slow."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


def slowly(*pairs: tuple[str, str]) -> list[Any]:
    return [pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]


def cache_writers(
    root: Path, pretrained: Pretrained, mean: bool, computed: Any = "fp32", stored: Any = "bf16"
) -> list[CacheWriter]:
    """Of several shards each."""
    lengths = CATALOG.lengths.sum(1)
    found = []
    for depth in DEPTHS[-1:] if mean else DEPTHS:
        identity = cache_identity(
            CATALOG,
            pretrained,
            depth,
            stored=stored,
            computed=computed,
            attention="sdpa",
            mean_at=DEPTHS if mean else (),
        )
        rows = (mean_rows(lengths, DEPTHS) if mean else lengths).numpy()
        found.append(CacheWriter(root, identity, rows, shard_bytes=500 if mean else 800))
    assert len(found[0].shards) > 2
    return found


def streamed(
    root: Path, pretrained: Pretrained, mean: bool = False, ahead: bool = True, most: int = 3, **kinds: Any
) -> dict[str, bytes]:
    computed = kinds.get("computed", "fp32")
    layers = StreamedLayers(pretrained, DEPTHS[-1], computed, ahead=ahead)
    stream(cache_writers(root, pretrained, mean, **kinds), layers, mean=mean, most_shards=most)
    return contents(root)


def stream(writers: Sequence[CacheWriter], layers: StreamedLayers, **more: Any) -> list[str]:
    said: list[str] = []
    given = {"depths": DEPTHS, "token_budget": BUDGET, "say": said.append}
    stream_caches(writers, layers, CATALOG, **(given | more))
    return said


def in_one_piece(root: Path, pretrained: Pretrained, mean: bool = False, **kinds: Any) -> dict[str, bytes]:
    lower = LowerLayers(pretrained, DEPTHS, kinds.get("computed", "fp32"))
    writers = cache_writers(root, pretrained, mean, **kinds)
    build_caches(writers, lower, CATALOG, token_budget=BUDGET, mean=mean)
    return contents(root)


def contents(root: Path) -> dict[str, bytes]:
    """Bytes of the shards and manifests, by place."""
    files = [*root.rglob("*.safetensors"), *root.rglob("manifest.json")]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", sampled(FAMILIES, QUICK))
def test_r18_every_family_has_the_bytes_of_one_piece(checkpoint, tmp_path, model_type, kind):
    pretrained, mean = checkpoint(model_type), KINDS[kind]
    wanted = in_one_piece(tmp_path / "whole", pretrained, mean)
    assert streamed(tmp_path / "streamed", pretrained, mean) == wanted


@pytest.mark.parametrize("name", sampled(UNEVEN, ["qwen2 with mixed windows"]))
def test_r18_layers_that_differ_have_the_bytes_of_one_piece(checkpoint, tmp_path, name):
    model_type, changes = UNEVEN[name]
    pretrained = checkpoint(model_type, **changes)
    assert streamed(tmp_path / "a", pretrained) == in_one_piece(tmp_path / "b", pretrained)


@pytest.mark.parametrize("computed, stored", [("bf16", "fp16"), *slowly(("bf16", "bf16"), ("fp32", "fp32"))])
@pytest.mark.parametrize("ahead", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_whatever_the_dtypes_and_the_shards_at_once(checkpoint, tmp_path, computed, stored, ahead):
    """Of a checkpoint with a head, in several files, where input and output embeddings are one."""
    pretrained = checkpoint("llama", head=True, sharded=True, tie_word_embeddings=True)
    kinds = {"computed": computed, "stored": stored}
    wanted = in_one_piece(tmp_path / "whole", pretrained, **kinds)
    for most in (1, 99):
        assert streamed(tmp_path / str(most), pretrained, ahead=ahead, most=most, **kinds) == wanted


@pytest.mark.parametrize("model_type", sampled(["llama", "bert", "opt"], ["opt"]))
def test_only_the_layers_below_are_read(checkpoint, tmp_path, model_type):
    """From a checkpoint that lacks all above; and what is missing below is told."""
    pretrained = checkpoint(model_type, num_hidden_layers=4)
    family = pretrained.family
    above = [*layer_names(family, 3, 4), *(f"{name}." for name in family.after)]
    below, _ = without(pretrained, tmp_path / "below", above)
    layers = StreamedLayers(below, 3)
    assert not any(value.numel() for value in layers._around.parameters())
    for depth, part in layers.parts(3):
        held = [name for name, _ in part.named_parameters()]
        assert depth == 0 or {name.split(f"{family.layers}.")[1][0] for name in held} == {str(depth - 1)}
    torn, _ = without(pretrained, tmp_path / "torn", layer_names(family, 2, 3))
    with pytest.raises(PretrainedError, match=r"does not hold '.*\.2\..*the checkpoint is incomplete"):
        list(StreamedLayers(torn, 3).parts(3))


def test_one_layer_is_held_at_a_time_and_one_ahead(checkpoint, monkeypatch):
    pretrained = checkpoint("llama")
    read: list[int] = []
    plain: Callable[..., Any] = StreamedLayers._read
    monkeypatch.setattr(StreamedLayers, "_read", lambda self, at: (read.append(at), plain(self, at))[1])
    layers = StreamedLayers(pretrained, 3, ahead=False)
    for depth, _ in layers.parts(3):
        assert read == list(range(depth))
        assert sum(any(True for _ in each.parameters()) for each in layers._places) == (depth > 0)
    assert layers.waited > 0


def test_r9_a_stopped_pass_is_lost_and_those_before_it_stay(checkpoint, tmp_path):
    pretrained = checkpoint("llama")
    wanted = in_one_piece(tmp_path / "whole", pretrained)
    writers, items = cache_writers(tmp_path / "one", pretrained, False), []

    def stop(count: float) -> None:
        items.append(count)
        if sum(items) > len(writers[0].shards[0]) + 1:
            raise KeyboardInterrupt

    layers = StreamedLayers(pretrained, 3)
    with pytest.raises(KeyboardInterrupt):
        stream(writers, layers, advanced=stop)
    left = [writer.missing() for writer in writers]
    assert 0 < len(left[1]) < len(writers[1].shards)
    assert not list((tmp_path / "one").rglob("manifest.json"))
    again: list[float] = []
    writers = cache_writers(tmp_path / "one", pretrained, False)
    stream(writers, StreamedLayers(pretrained, 3), advanced=again.append)
    assert contents(tmp_path / "one") == wanted
    with_tokens = CATALOG.lengths.sum(1).numpy() > 0
    missing = sum(with_tokens[writers[0].shards[index]].sum() for index in left[1])
    assert sum(again) == pytest.approx(missing)


def test_r8_two_builders_share_the_shards(checkpoint, tmp_path):
    """While one is in its first pass, the other writes all other shards and then waits for it."""
    pretrained = checkpoint("llama")
    wanted = in_one_piece(tmp_path / "whole", pretrained)
    counts: list[list[float]] = [[], []]

    def other(count: float) -> None:
        counts[1].append(count)
        if not count:
            raise TimeoutError

    def one(count: float) -> None:
        if not counts[0]:
            writers = cache_writers(tmp_path / "both", pretrained, False)
            with pytest.raises(TimeoutError):
                stream(writers, StreamedLayers(pretrained, 3), advanced=other)
        counts[0].append(count)

    writers = cache_writers(tmp_path / "both", pretrained, False)
    stream(writers, StreamedLayers(pretrained, 3, ahead=False), advanced=one)
    assert contents(tmp_path / "both") == wanted
    with_tokens = CATALOG.lengths.sum(1).numpy() > 0
    first = with_tokens[writers[0].shards[0]].sum()
    assert list(map(sum, counts)) == [pytest.approx(first), pytest.approx(with_tokens.sum() - first)]


def test_no_more_layers_are_read_than_the_missing_shards_need(checkpoint, tmp_path, monkeypatch):
    """Where the deeper cache is whole."""
    pretrained, read = checkpoint("llama"), []
    stream(cache_writers(tmp_path, pretrained, False), StreamedLayers(pretrained, 3))
    wanted = contents(tmp_path)
    shallow = cache_writers(tmp_path, pretrained, False)[0]
    (shallow.folder / "shard-00001.safetensors").unlink()
    plain: Callable[..., Any] = StreamedLayers._read
    monkeypatch.setattr(StreamedLayers, "_read", lambda self, at: (read.append(at), plain(self, at))[1])
    stream(cache_writers(tmp_path, pretrained, False), StreamedLayers(pretrained, 3))
    assert read == [0] and contents(tmp_path) == wanted


def test_a_pass_takes_more_shards_while_it_waits_for_weights(checkpoint, tmp_path, monkeypatch):
    pretrained = checkpoint("llama")
    for part in (0.0, 1.1):  # of the time that was waited for
        monkeypatch.setattr("legorec.lm.build_streamed.WAITING", part)
        writers = cache_writers(tmp_path / str(part), pretrained, False)
        shards = len(writers[0].shards)
        said = stream(writers, StreamedLayers(pretrained, 3), most_shards=2)
        assert len(said) == (shards if part else 1 + shards // 2)
        assert all("items through 3 layers in" in line for line in said)


def test_r21_short_memory_halves_the_batch(checkpoint, tmp_path, monkeypatch):
    pretrained, kinds = checkpoint("llama"), {"computed": "fp32", "stored": "fp32"}
    streamed(tmp_path / "whole", pretrained, **kinds)
    asked = shorten(monkeypatch, "layer tokens", 6)
    writers = cache_writers(tmp_path / "halved", pretrained, False, **kinds)
    said = stream(writers, StreamedLayers(pretrained, 3), token_budget=24)
    assert "out of memory with --exp.cache.token_budget 24; going on with" in "\n".join(said)
    assert max(asked) > 6
    files = [file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.safetensors")]
    for file in files:
        found, wanted = (load_file(tmp_path / name / file)["values"] for name in ("halved", "whole"))
        assert (found - wanted).abs().max() <= 1e-6 * max(1.0, float(wanted.abs().max()))
    shorten(monkeypatch, "layer tokens", 1)
    with pytest.raises(NoMemoryError, match=r"with row \d+ of the items alone"):
        streamed(tmp_path / "none", pretrained, **kinds)


def test_items_without_tokens_need_no_layer(checkpoint, tmp_path, monkeypatch):
    pretrained, nothing = checkpoint("llama"), text_catalog(12)
    monkeypatch.setattr(StreamedLayers, "parts", lambda *_: pytest.fail("layers were read"))
    empty = np.zeros(2, np.int64)
    identity = cache_writers(tmp_path / "x", pretrained, False)[0].identity
    rows = Ragged.from_lengths(np.zeros(0, np.int32), empty)
    catalog = Catalog(nothing.fields, [rows], nothing.text)
    writer = CacheWriter(tmp_path, identity, empty)
    stream_caches([writer], StreamedLayers(pretrained, 3), catalog, depths=[1], token_budget=9)
    assert not writer.missing() and list(tmp_path.rglob("manifest.json"))
