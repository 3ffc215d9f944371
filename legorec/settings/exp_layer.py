"""The settings of the exp layer, typed and strict: a key that is not here is an error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from legorec.settings.generate import GenerateSettings, MergeSettings
from legorec.settings.modes import MODES
from legorec.settings.values import (
    LARGEST,
    Count,
    Epochs,
    FieldName,
    Flag,
    MetricName,
    MetricSum,
    Positive,
    Rate,
    SafeName,
    Schedule,
    Strict,
    Text,
)


class PolicySettings(Strict):
    """How the model is trained."""

    epoch: Epochs = 50
    lr: Rate = 1e-3
    item_lr: Rate | None = None
    batch_size: Positive = 64
    acc_batch: Positive = 1
    epoch_batch: Annotated[int, Field(ge=-LARGEST, le=LARGEST)] = (
        0  # n: that many batches an epoch; -n: one n-th of an epoch; 0: all
    )
    warmup: Count = 0  # optimizer steps
    schedule: Schedule = "constant"  # of the rates, after the warm-up
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    weight_decay: float = Field(default=0.0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: Flag = False  # see engine/kernels, as for the next
    deterministic: Flag = False
    item_page_size: Count = 0  # items encoded at a time in training, see Recommender; 0: all at once
    patience: Count = 2
    simple_dev: Flag = False
    save_every: Count = 0  # optimizer steps between checkpoints inside an epoch; 0: at its end only
    keep_epochs: Positive = 1  # how many of the best epochs' checkpoints are kept


def _rising(edges: list[int]) -> list[int]:
    """Check where parts begin."""
    if any(later <= earlier for earlier, later in zip(edges, edges[1:], strict=False)):
        raise ValueError("must rise, as in [1, 5, 20], which are the parts 0, 1 to 4, 5 to 19, 20 and more")
    return edges


Edges = Annotated[list[Positive], Field(max_length=100), AfterValidator(_rising)]


class SliceSettings(Strict):
    """Parts of a split that are measured once more, each on its own; see ``legorec.data.slicing``.

    ``popularity`` and ``history`` say where the parts after the first begin; [] leaves them out. ``filled``
    names a field of the store: the parts of ``popularity`` are there once more, of the items that have it.
    ``item_fields`` are categories of the candidates, such as the ``domain`` of joined stores.
    """

    popularity: Edges = [1, 5, 20]  # users who clicked the clicked item in training
    history: Edges = [5, 20]  # clicks stored before the impression
    cold_items: Flag = True
    cold_users: Flag = True
    filled: FieldName | None = None
    item_fields: list[FieldName] = []


class EvaluationSettings(Strict):
    """How candidates are ranked; ``metric`` chooses the best epoch: one, or a sum, ``recall@3 + recall@5``.

    ``candidates``: those that an impression has ``shown``, or the ``full`` catalogue; then ``mask_history``
    says whether items that the user has clicked before are left out. ``list_category`` and ``list_vectors``
    say by what list metrics compare items: a category of theirs, and the TF-IDF weights of their text, or
    the ``given`` vectors of the items in ``embed.tables``.
    """

    candidates: Literal["shown", "full"] = "shown"
    mask_history: Flag = True
    fast: Flag = True
    batch_size: Positive = 256
    item_page_size: Positive = 512
    token_budget: Positive = 32768  # tokens of the prompts that are scored at a time
    metric: MetricSum = "gauc"
    save_ranking: Flag = False
    slices: SliceSettings | None = None
    list_category: FieldName | None = None
    list_vectors: Literal["tfidf", "given"] = "tfidf"


class CacheSettings(Strict):
    """The depths that a cache run writes: the inputs of ``layers``, counted from the top if negative.

    Layers that do not fit in ``memory_gb`` are read from disk one at a time; null: most of what is free.
    """

    layers: list[int] = Field(min_length=1)
    token_budget: Positive = 8192  # tokens, with padding, that go through the model at once
    shard_mb: Positive = 256
    memory_gb: float | None = Field(default=None, gt=0)


class LatencySettings(Strict):
    """How response times are taken: single requests of one history and its candidates."""

    requests: Positive = 200
    candidates: Positive = 20


class SweepSettings(Strict):
    """Rates that a sweep tries for ``lr``, one a step; another group of weights keeps its ratio to it."""

    lowest: Rate = 1e-5
    highest: Rate = 1.0
    steps: Annotated[int, Field(ge=20, le=100_000)] = 120

    @model_validator(mode="after")
    def _a_range(self) -> SweepSettings:
        if self.lowest >= self.highest:
            raise ValueError(
                f"`lowest` must be below `highest`, got {self.lowest:g} and {self.highest:g}: the rate grows"
            )
        return self


class PredictSettings(Strict):
    """What is scored: a split's candidates, with ``top_k`` all items for its users, or a file's ``pairs``.

    Where a split is needed null is ``test``. ``mind`` is the format of that leaderboard. ``max_missing`` is
    the share of the users, items and clicks of ``pairs`` that may be unknown.
    """

    split: Literal["train", "dev", "test"] | None = None
    format: Literal["parquet", "csv", "mind"] = "parquet"
    top_k: Positive | None = None
    pairs: Text | None = None
    max_missing: float = Field(default=0.0, ge=0, le=1)


class PromptShownSettings(Strict):
    """The example whose prompt is printed: its place in a split, and its candidate, both counted from 0."""

    split: Literal["train", "dev", "test"] = "test"
    example: Count = 0
    candidate: Count = 0


# Untrained scorers with rows of their own in every table, see ``legorec.recipes.inputs.baselines``.
BASELINES = ("random", "popularity", "most_recent", "cosine", "item_knn")
# For those who name them: few data sets have what they read.
MORE_BASELINES = ("likes_ratio", "item_mean", "repeat_last", "bm25_last")


class ExpSettings(Strict):
    """The ``exp`` layer."""

    name: SafeName
    mode: Literal[*MODES]  # type: ignore[valid-type]
    accepts: list[Text] = []
    load: Text | None = None
    load_epoch: Count | None = None  # of that run; null: the best
    init_from: Text | None = None  # the run whose weights training begins with
    policy: PolicySettings = PolicySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    cache: CacheSettings | None = None
    latency: LatencySettings | None = None
    predict: PredictSettings | None = None
    sweep: SweepSettings | None = None
    prompt: PromptShownSettings | None = None
    generate: GenerateSettings | None = None
    merge: MergeSettings | None = None
    metrics: list[MetricName] = Field(default=["gauc", "mrr", "ndcg@5", "ndcg@10"], min_length=1)
    baselines: list[Literal[*BASELINES, *MORE_BASELINES]] = list(BASELINES)  # type: ignore[valid-type]
