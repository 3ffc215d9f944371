"""Figures of the language model benchmark as a page of Markdown, and the targets that were not reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import report, subject
from benchmarks.lm_cache import CacheFigures
from benchmarks.lm_memory import MemoryFigures
from benchmarks.lm_slots import SlotFigures
from benchmarks.lm_subject import STORED, TOKEN_BUDGET, LanguageModel
from benchmarks.lm_training import StepFigures

CACHE_SPEED, CACHE_SIZE, CEILING_SHARE, SLOT_RATIO = 0.9, 0.02, 0.8, 10.0
SLOT_MODEL = "SmolLM2"  # MiniLM is too shallow for it: its upper layer alone is a sixth of the whole
LOSS, STATES = 0.02, 0.05  # differences that bf16 explains
CATALOG_SHARE = 0.1  # of what a larger catalogue adds on disk, in memory that no file backs

INTRODUCTION = """# Benchmarks with language models

Measured by `make bench-lm` (`python -m benchmarks.language_models`) on the weights that
`process/fetch_model.py` fetches and the store of `process/movielens.py`. Every ratio is of contenders that
took turns in one run, after a round that is not counted; seconds are medians. What legorec is held against
(`benchmarks/lm_plain.py`) are models of transformers, called as they come."""

PRECISION_NOTE = """`fp32` and `bf16` are `--lm_dtype`: of the weights of the language model, of what is
computed in it and of the states handed on. Adapters and everything behind the language model are float32."""


@dataclass(frozen=True)
class Missed:
    """A target that the figures do not reach."""

    what: str
    found: str
    asked: str

    def __str__(self) -> str:
        return f"{self.what}: {self.found}, asked: {self.asked}"


@dataclass(frozen=True)
class Figures:
    """All measurements."""

    cache: Sequence[CacheFigures]
    steps: Sequence[StepFigures]
    slots: Sequence[SlotFigures]
    memory: Sequence[MemoryFigures]  # small, larger batch, larger catalogue; empty where nothing tells


def missed(figures: Figures) -> list[Missed]:
    """The targets that were not reached, in the order of the page."""
    return [
        *(each for part in figures.cache for each in _missed_cache(part)),
        *(each for part in figures.steps for each in _missed_step(part)),
        *(each for part in figures.slots for each in _missed_slots(part)),
        *_missed_memory(figures.memory),
    ]


def _missed_cache(part: CacheFigures) -> Iterator[Missed]:
    name = f"{part.model} {part.precision}, cache run"
    if part.ratio < CACHE_SPEED:
        yield Missed(f"{name} over the bare model", f"{part.ratio:.2f}", f"at least {CACHE_SPEED}")
    if abs(part.overhead) > CACHE_SIZE:
        yield Missed(f"{name}, bytes beyond the states", f"{part.overhead:.1%}", f"at most {CACHE_SIZE:.0%}")
    if part.difference > STATES:
        yield Missed(f"{name}, difference of states", f"{part.difference:.1%}", f"at most {STATES:.0%}")


def _missed_step(part: StepFigures) -> Iterator[Missed]:
    name = f"{part.model} {part.precision}, training"
    if part.share < CEILING_SHARE:
        yield Missed(f"{name}, ratio of its ceiling", f"{part.share:.2f}", f"at least {CEILING_SHARE}")
    if abs(part.cached_loss - part.live_loss) > LOSS * abs(part.live_loss):
        found = f"{part.cached_loss:.4f} and {part.live_loss:.4f}"
        yield Missed(f"{name}, first loss cached and live", found, f"at most {LOSS:.0%} apart")


def _missed_slots(part: SlotFigures) -> Iterator[Missed]:
    if part.model.startswith(SLOT_MODEL) and part.ratio < SLOT_RATIO:
        name = f"{part.model} {part.precision}, every slot over cached"
        yield Missed(name, f"{part.ratio:.1f}", f"at least {SLOT_RATIO:.0f}")


def _missed_memory(parts: Sequence[MemoryFigures]) -> Iterator[Missed]:
    if not parts:
        return
    small, larger_batch, larger_catalog = parts
    if larger_batch.growth <= small.growth:
        found = f"{larger_batch.growth:.0f} MiB instead of {small.growth:.0f}"
        yield Missed("memory, larger batch", found, "grows with the batch")
    bound = CATALOG_SHARE * (larger_catalog.states - small.states)
    if larger_catalog.peak - small.peak > bound:
        found = f"{larger_catalog.peak - small.peak:.0f} MiB more"
        yield Missed("memory, larger catalogue", found, f"at most {bound:.0f} MiB more")


def page(figures: Figures, models: Sequence[LanguageModel], threads: int) -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        facts(models, threads),
        cache(figures.cache),
        steps(figures.steps),
        slots(figures.slots),
        memory(figures.memory, models[-1]),
        verdict(missed(figures)),
    ]
    return "\n\n".join(parts) + "\n"


def facts(models: Sequence[LanguageModel], threads: int) -> str:
    """The machine, the versions, the models, the items."""
    lines = ["## What was run", *report.machine(threads, ("transformers", "peft"))]
    for model in models:
        lengths = model.catalog.lengths.sum(1)
        lines += [
            f"- {model.name}: {model.pretrained.num_layers} layers of width {model.pretrained.width}, cut at "
            f"depth {model.depth};",
            f"  {model.catalog.num_items:,} items, on average {float(lengths.float().mean()):.1f} tokens, at "
            f"most {int(lengths.max())}, by",
            f"  `{model.checkpoint.template}`",
        ]
    lines += [
        f"- NAML over the item encoder, LoRA of rank 32 on queries and values, dropout 0.1; at most "
        f"{subject.HISTORY_LENGTH}",
        f"  clicks a history, {subject.NUM_NEGATIVES} negatives; states are stored as {STORED}",
    ]
    return "\n".join(lines)


def cache(figures: Sequence[CacheFigures]) -> str:
    """The cache run."""
    rows: list[tuple[str, Callable[[CacheFigures], str], str]] = [
        ("items", lambda each: f"{each.items:,}", ""),
        ("layers", lambda each: f"{each.depth} of {each.layers}", ""),
        ("bare model, items/s", lambda each: f"{each.bare:.0f}", ""),
        ("cache run, items/s", lambda each: f"{each.ours:.0f}", ""),
        ("ratio", lambda each: f"{each.ratio:.2f}", f"at least {CACHE_SPEED}"),
        ("on disk, MiB", lambda each: f"{each.on_disk / 2**20:.1f}", ""),
        ("beyond tokens x width x bytes", lambda each: f"{each.overhead:.2%}", f"at most {CACHE_SIZE:.0%}"),
        ("largest difference of states", lambda each: f"{each.difference:.2%}", ""),
    ]
    return report.paragraphs(
        "## Writing the cache",
        f"Batches of like length, {TOKEN_BUDGET:,} tokens with padding. The bare model's side is its forward",
        "passes under `torch.inference_mode`, without the layers above the depth and on inputs padded",
        "beforehand; the cache run goes from token ids to finished files. The difference is in units of the",
        f"largest state, and holds the rounding to {STORED} on disk.",
        "",
        report.table(figures, _names(figures), rows),
    )


def steps(figures: Sequence[StepFigures]) -> str:
    """Training steps, the ceiling, and the parts of a cached step."""
    rows: list[tuple[str, Callable[[StepFigures], str], str]] = [
        ("layers tuned", lambda each: f"{each.layers - each.depth} of {each.layers}", ""),
        ("clicks a batch", lambda each: f"{each.batch_size}", ""),
        ("distinct items, tokens", lambda each: f"{each.items:.0f}, {each.tokens:,.0f}", ""),
        ("without a cache, s", lambda each: f"{each.live:.3f}", ""),
        ("cached, s", lambda each: f"{each.cached:.3f}", ""),
        ("ratio", lambda each: f"{each.ratio:.2f}", ""),
        ("bare lower layers, s", lambda each: f"{each.bare_lower:.3f}", ""),
        ("bare upper layers, s", lambda each: f"{each.bare_upper:.3f}", ""),
        ("ceiling: all over upper", lambda each: f"{each.ceiling:.2f}", ""),
        ("ratio of the ceiling", lambda each: f"{each.share:.2f}", f"at least {CEILING_SHARE}"),
        ("bare upper, its dropout off, s", lambda each: f"{each.bare_upper_plain:.3f}", ""),
        ("ceiling with that", lambda each: f"{each.ceiling_plain:.2f}", ""),
        (
            "first loss, cached / live",
            lambda each: f"{each.cached_loss:.4f} / {each.live_loss:.4f}",
            f"{LOSS:.0%} apart",
        ),
    ]
    text = report.paragraphs(
        "## A training step on cached states",
        "Beside the same recommender without a cache, whose lower layers run without gradient on the",
        "distinct items of each batch. The ceiling is what the layers of transformers take on the same items",
        "in the same groups of like length: all of them, the lower ones without gradient, over the upper",
        "ones alone, forward and backward as far as adapters on queries and values need it, in training",
        "mode, with transformers' own attention and dropout; ours has plain products for short rows there.",
        PRECISION_NOTE,
        "",
        report.table(figures, _names(figures), rows),
    )
    named = list(dict.fromkeys(name for each in figures for name in each.parts))
    if not named:
        return text
    share: list[tuple[str, Callable[[StepFigures], str], str]] = [(name, _part(name), "") for name in named]
    return text + "\n\nWhere a cached step goes, seconds:\n\n" + report.table(figures, _names(figures), share)


def _part(name: str) -> Callable[[StepFigures], str]:
    return lambda each: f"{each.parts[name]:.4f}" if name in each.parts else ""


def slots(figures: Sequence[SlotFigures]) -> str:
    """The comparison with every slot at padded length."""
    rows: list[tuple[str, Callable[[SlotFigures], str], str]] = [
        ("clicks a batch", lambda each: f"{each.batch_size}", ""),
        ("slots, tokens each", lambda each: f"{each.slots} x {each.length}", ""),
        ("every slot, s", lambda each: f"{each.every_slot:.2f}", ""),
        ("cached, s", lambda each: f"{each.cached:.3f}", ""),
        ("ratio", lambda each: f"{each.ratio:.1f}", f"at least {SLOT_RATIO:.0f} for {SLOT_MODEL}"),
    ]
    return report.paragraphs(
        "## Against every slot at padded length",
        "A step of the same model as it is often written: without a cache, every slot of history and",
        "candidates a row of its own, empty slots too, as long as the longest item; it has no adapters to",
        "pay for. Measured on smaller batches, which favours it: a larger batch names more items twice.",
        "",
        report.table(figures, _names(figures), rows),
    )


def memory(figures: Sequence[MemoryFigures], model: LanguageModel) -> str:
    """Anonymous memory."""
    title = "## Memory in training on the cache\n"
    if not figures:
        return title + "Not measured: this system does not tell."
    small = figures[0]
    names = ["small", "larger batch", "larger catalogue"]
    rows: list[tuple[str, Callable[[MemoryFigures], str], str]] = [
        ("clicks a batch", lambda each: f"{each.batch_size}", ""),
        ("items of the catalogue", lambda each: f"{each.items:,}", ""),
        ("cached states on disk", lambda each: f"{each.states:.0f}", ""),
        ("before", lambda each: f"{each.before:.0f}", ""),
        ("peak", lambda each: f"{each.peak:.0f}", ""),
        ("growth", lambda each: f"{each.growth:.0f}", ""),
        ("peak, beyond the first", lambda each: f"{each.peak - small.peak:.0f}", "with the batch alone"),
    ]
    return title + report.paragraphs(
        f"{model.name} in fp32 at depth {model.depth}: RssAnon, memory that no file backs, in MiB, at",
        "its highest over some steps of a process of its own. The larger catalogue holds every item several",
        "times; batches name the same texts.",
        "",
        report.table(figures, names, rows),
    )


def _names(figures: Sequence[CacheFigures] | Sequence[StepFigures] | Sequence[SlotFigures]) -> list[str]:
    return [f"{each.model} {each.precision}" for each in figures]


def verdict(found: Sequence[Missed]) -> str:
    """The section on targets that were not reached."""
    lines = [f"- {each}" for each in found] or ["Nothing."]
    return "\n".join(["## Asked for and not reached", *lines])
