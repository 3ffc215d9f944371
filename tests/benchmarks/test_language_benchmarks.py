"""The benchmark with language models runs, what it compares with is right, and its checks can fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import gpu, lm_memory, lm_plain, lm_report, lm_subject, lm_timing
from benchmarks.lm_cache import CacheFigures
from benchmarks.lm_memory import CopiedStream, MemoryFigures, Peak
from benchmarks.lm_report import Figures
from benchmarks.lm_slots import SlotFigures, padded_catalog, slots_of
from benchmarks.lm_subject import Checkpoint, LanguageModel
from benchmarks.lm_training import BareTurns, StepFigures
from benchmarks.memory import STATUS
from benchmarks.subject import click_stream
from legorec.lm.cut import LowerLayers
from legorec.lm.pretrained import Pretrained
from tests.support.language_runs import write_language_model, write_language_store
from tests.support.tiny import packed_ids, states_of, tiny, whole

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ["bert", "llama"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pretrained]:
    root = tmp_path_factory.mktemp("models")
    return {name: tiny(name, root / name) for name in FAMILIES}


@pytest.fixture
def subject_model(tmp_path: Path) -> LanguageModel:
    """A tiny model over a tiny store, cut at depth 2."""
    write_language_model(tmp_path / "model", "llama")
    checkpoint = Checkpoint("tiny", tmp_path / "model", 2, "Title: {title:5}")
    write_language_store(tmp_path / "store")
    copy = lm_subject.tokenized_copy(tmp_path / "store", tmp_path / "copy", [checkpoint])
    return lm_subject.open_language_model(checkpoint, copy)


@pytest.mark.parametrize("name", FAMILIES)
def test_bare_parts_are_the_whole(name: str, models: dict[str, Pretrained]) -> None:
    pretrained = models[name]
    ids, lengths = packed_ids([3, 6, 1])
    padded, mask = lm_plain.padded(ids.split(lengths.tolist()))
    lower = lm_plain.lower_model(pretrained.folder, 2, torch.float32)
    upper = lm_plain.upper_model(pretrained.folder, 2, torch.float32)
    states = lower(input_ids=padded, attention_mask=mask.long()).last_hidden_state
    out = upper(inputs_embeds=states, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(out[mask], states_of(whole(pretrained), ids, lengths), atol=1e-5, rtol=1e-4)
    ours = LowerLayers(pretrained, [2])(ids, lengths)[2]
    torch.testing.assert_close(states[mask], ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_bare_backward_reaches_queries_and_values_and_no_deeper(
    name: str, models: dict[str, Pretrained]
) -> None:
    upper = lm_plain.upper_model(models[name].folder, 1, torch.float32)
    seen: dict[tuple[int, str], Tensor] = {}

    def keep(place: int, kind: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
                seen[place, kind] = output

        return hook

    layers = lm_plain.layers_of(upper)
    assert len(layers) == 2
    for place, layer in enumerate(layers):
        for path, module in layer.named_modules():
            kind = path.rpartition(".")[2]
            if kind in (*lm_plain.ADAPTED, "key", "k_proj"):
                module.register_forward_hook(keep(place, kind))
    states = torch.randn(2, 5, models[name].width)
    upper(inputs_embeds=states).last_hidden_state.square().sum().backward()
    lowest = {kind for place, kind in seen if place == 0}
    assert len(lowest) == 2 and lowest < set(lm_plain.ADAPTED)  # not the keys
    assert len({kind for place, kind in seen if place == 1}) == 3
    assert all(value.grad is not None and value.grad.any() for value in seen.values())
    assert not any(value.requires_grad for value in upper.parameters())


def test_layers_kept_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear keeps its layers in none of encoder.layer, layers"):
        lm_plain.layers_of(nn.Linear(2, 2))


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_changes_no_score_of_every_slot(name: str, models: dict[str, Pretrained]) -> None:
    ids, lengths = packed_ids([0, 4, 2, 7, 3])
    history, candidates = torch.tensor([[2, 3, 0], [0, 0, 0]]), torch.tensor([[1, 4], [4, 2]])

    def scores(longer: int, more_slots: int) -> Tensor:
        torch.manual_seed(0)
        titles, mask = lm_plain.padded(ids.split(lengths.tolist()))
        titles, mask = (nn.functional.pad(each, (0, longer)) for each in (titles, mask))
        model = lm_plain.EverySlot(models[name].folder, 2, torch.float32, titles, mask).eval()
        return model(nn.functional.pad(history, (0, more_slots)), candidates)

    short = scores(0, 0)
    assert short.isfinite().all()
    torch.testing.assert_close(scores(3, 2), short, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(short[1], torch.zeros(2))  # an empty history is a zero user


def test_every_slot_names_the_texts_of_the_batch(subject_model: LanguageModel) -> None:
    catalog = subject_model.catalog
    titles, mask = padded_catalog(subject_model)
    batch = click_stream(subject_model.store, 1, 2).batch(0)
    history, candidates = slots_of(batch)
    assert history.shape == (2, 50)
    for row in range(2):
        clicks = batch.items[batch.history[row][batch.history_mask[row]]]
        shown = history[row][history[row] > 0]
        torch.testing.assert_close(titles[shown][mask[shown]], catalog.tokens(clicks).ids)
        clicked = batch.items[batch.candidates[row][batch.labels[row] > 0]]
        assert candidates[row, 0] == clicked + 1


def test_copies_are_the_same_texts(subject_model: LanguageModel, tmp_path: Path) -> None:
    larger = lm_memory.copied(subject_model, 3)
    assert larger.catalog.num_items == 3 * subject_model.catalog.num_items
    stream = click_stream(subject_model.store, 1, 4)
    one, other = stream.batch(0), CopiedStream(stream, 3).batch(0)
    assert not torch.equal(one.items, other.items)
    expected, found = subject_model.catalog.tokens(one.items), larger.catalog.tokens(other.items)
    torch.testing.assert_close(found.ids, expected.ids)
    lm_memory.write_copied_cache(subject_model, tmp_path / "caches", "fp32", 3)
    figures = (
        [
            lm_memory.measure(
                subject_model, tmp_path / "caches", "fp32", copies=copies, batch_size=2, steps=1
            )
            for copies in (1, 3)
        ]
        if STATUS.exists()
        else []
    )
    for each in figures:
        assert each.peak >= each.before > 0


@pytest.mark.skipif(not STATUS.exists(), reason="this system does not tell")
def test_peak_sees_what_was_freed_again() -> None:
    before = lm_memory.resident("RssAnon")
    with Peak() as peak:
        block = torch.ones(64 << 20, dtype=torch.uint8)
        lm_memory.time.sleep(20 * lm_memory.PAUSE)
        del block
    assert peak.bytes - before > 60 << 20


def test_turns_alternate_and_the_first_is_not_counted() -> None:
    order: list[str] = []
    spent = lm_timing.in_turns({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(each) for name, each in spent.items()} == {"a": 2, "b": 2}
    assert lm_timing.medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}


def test_bare_layers_see_the_items_of_the_batches(subject_model: LanguageModel) -> None:
    stream = click_stream(subject_model.store, 2, 3)
    bare = BareTurns(subject_model, "fp32", stream, 2, "cpu", autocast=False)
    for turn in range(2):
        bare.advance()
        bare.run_lower()
        bare.run_upper_with(dropout=True)()
        found = sum(int(mask.sum()) for _, mask in bare.group)
        items = [stream.batch(number).items for number in (2 * turn, 2 * turn + 1)]
        assert found == sum(int(subject_model.catalog.lengths[each].sum()) for each in items)


def good_figures() -> Figures:
    cache = CacheFigures("one", "fp32", 2, 3, 100, 900, 10.0, 9.5, 101, 100, 0.001)
    step = StepFigures(
        "one", "fp32", 2, 3, 4, 50.0, 400.0, 1.0, 3.0, 2.5, 1.0, 0.9, 1.6, 1.601, {"rest": 1.0}
    )
    slots = SlotFigures("SmolLM2", "fp32", 2, 110, 20, 1.0, 12.0)
    memory = [
        MemoryFigures(*each) for each in ((8, 10, 5, 100, 200), (32, 10, 5, 100, 300), (8, 80, 40, 100, 202))
    ]
    return Figures([cache], [step], [slots], memory)


def test_nothing_is_missed_where_all_is_kept() -> None:
    assert lm_report.missed(good_figures()) == []
    assert lm_report.missed(replace(good_figures(), memory=[])) == []
    assert "Nothing." in lm_report.verdict([])


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("cache", {"ours": 8.0}, "one fp32, cache run over the bare model: 0.80, asked: at least 0.9"),
        ("cache", {"on_disk": 110}, "one fp32, cache run, bytes beyond the states: 10.0%, asked: at most 2%"),
        ("cache", {"difference": 0.3}, "difference of states: 30.0%"),
        ("steps", {"live": 2.0}, "one fp32, training, ratio of its ceiling: 0.57, asked: at least 0.8"),
        ("steps", {"cached_loss": 2.0}, "first loss cached and live: 2.0000 and 1.6010"),
        ("slots", {"every_slot": 9.0}, "every slot over cached: 9.0, asked: at least 10"),
    ],
)
def test_each_check_can_fail(part: str, changes: dict[str, float], message: str) -> None:
    figures = good_figures()
    figures = replace(figures, **{part: [replace(getattr(figures, part)[0], **changes)]})
    (missed,) = lm_report.missed(figures)
    assert message in str(missed)


@pytest.mark.parametrize(
    ("place", "peak", "message"),
    [(1, 199.0, "99 MiB instead of 100"), (2, 240.0, "40 MiB more, asked: at most 4 MiB more")],
)
def test_each_memory_check_can_fail(place: int, peak: float, message: str) -> None:
    figures = good_figures()
    memory = list(figures.memory)
    memory[place] = replace(memory[place], peak=peak)
    (missed,) = lm_report.missed(replace(figures, memory=memory))
    assert message in str(missed)


@pytest.mark.slow
def test_tables_for_an_accelerator(subject_model: LanguageModel, tmp_path: Path) -> None:
    text = gpu.measure_language_model(subject_model, tmp_path, "cpu", rounds=1, steps=1)
    assert "| tiny fp32 | tiny bf16 | tiny bf16, autocast |" in text


@pytest.mark.slow
def test_everything_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.language_models", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert len(titles) == 6
    assert "tiny-bert" in done.stdout and "tiny-llama" in done.stdout
