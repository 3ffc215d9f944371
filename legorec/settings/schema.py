"""The settings of the four layers and the worker, typed and strict: a key that is not here is an error."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from legorec.registry import KINDS
from legorec.settings.brick_places import ONLY, place_of
from legorec.settings.filters import FilterSettings
from legorec.settings.generate import GenerateSettings, MergeSettings
from legorec.settings.modes import MODES
from legorec.settings.values import (
    LARGEST,
    Count,
    Device,
    FieldName,
    Flag,
    MetricName,
    MetricSum,
    PartName,
    Positive,
    SafeName,
    Strict,
    Template,
    Text,
    empty_block,
)


class FieldSettings(Strict):
    """How one field of the items is read: at most ``max_length`` tokens, the first or the last ones.

    ``column`` is the store's field where this one has another name, so that one may be read several times;
    ``own_table`` keeps its vectors apart from those of other fields with the same vocabulary. Numbers are
    ``scaled``: to mean 0 and deviation 1, or with ``min_max`` to between 0 and 1.
    """

    max_length: Positive | None = None
    keep: Literal["first", "last"] = "first"
    column: FieldName | None = None
    own_table: Flag = False
    scaled: Literal["standard", "min_max"] = "standard"


class HistorySettings(Strict):
    """At most ``max_length`` clicks, the latest ones; null keeps all."""

    max_length: Positive | None = 50


class SplitSettings(Strict):
    """Which split of the store plays which part; a mode reads only those that it needs."""

    train: Text = "train"
    dev: Text = "dev"
    test: Text = "test"


class TextSettings(Strict):
    """The items' text for a language model: literals and ``{field:budget}``, see ``legorec.template``.

    ``tokenizer`` names one of the store's tokenizations; left out, the model's own tokenizer picks it.
    """

    template: Template
    tokenizer: SafeName | None = None


class DataSettings(Strict):
    """The ``data`` layer; items are read as ``fields``, or as one ``text``; users by ``user_fields``.

    Both may be there where items have several parts: sources of a language model read the text.
    """

    name: SafeName
    store: Text
    fields: dict[FieldName, Annotated[FieldSettings, BeforeValidator(empty_block)]] = {}
    text: TextSettings | None = None
    user_fields: dict[FieldName, Annotated[FieldSettings, BeforeValidator(empty_block)]] = {}
    history: HistorySettings = HistorySettings()
    splits: SplitSettings = SplitSettings()
    filters: list[FilterSettings] = []
    dev_rows: Positive | None = None  # at most so many impressions of dev, drawn by the seed; None: all
    shots: Positive | None = None  # of the training split, drawn by the seed after the filters; None: all
    stratified: Flag = False  # shots: with the share of clicks that the whole split has
    group_by: Literal["impression", "user"] = "impression"
    made_with: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_reading(self) -> DataSettings:
        if not self.fields and self.text is None:
            raise ValueError(
                "items are read as `fields` (one at least) or as one `text`: give one of the two"
            )
        if self.stratified and self.shots is None:
            raise ValueError("`stratified` is how `shots` are drawn: name their number, or leave it out")
        return self


class TokenTableSettings(Strict):
    """Given vectors of a vocabulary, or of one field alone, from a .npy or .safetensors file."""

    vocabulary: Text | None = None
    field: FieldName | None = None
    path: Text
    frozen: Flag = True
    transform: Literal["auto", "linear", "none"] = "auto"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # behind the table, and its projection if it has one
    made_with: dict[str, Any] = {}  # what the file must say of itself; ``process/embed.py items`` writes it
    checkpoint: Text | None = None  # the language model whose weights and tokenizer must have made it

    @model_validator(mode="after")
    def _one_owner(self) -> TokenTableSettings:
        if (self.vocabulary is None) == (self.field is None):
            raise ValueError("a table is of a `vocabulary` or of a `field`: give one of the two")
        return self

    @property
    def owner(self) -> str:
        """The table's name in a catalogue: a vocabulary, or a field with a table of its own."""
        return self.vocabulary or f"field {self.field}"  # as ``data.catalog.own_table`` has it


class CodesSettings(Strict):
    """Semantic codes of the items, written by ``process/embed.py codes``."""

    path: Text


class EmbedSettings(Strict):
    """The ``embed`` layer."""

    name: SafeName = "random"
    tables: list[TokenTableSettings] = []
    codes: CodesSettings | None = None


class BrickSettings(Strict):
    """The name of a brick and the keywords of its constructor, with its own defaults for those left out."""

    name: Text
    arguments: dict[str, Any] = {}


Schedule = Literal["constant", "linear", "cosine"]
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0)]


class SuggestedSettings(Strict):
    """How a model suggests to be trained, where no rate is named; ``exp`` reads it as its defaults."""

    lr: Rate
    item_lr: Rate | None = None  # where nothing pretrained is trained, it is not used
    warmup: Count = 0
    schedule: Schedule = "constant"
    epoch: Epochs = 50


def _flat(brick: BrickSettings | None) -> dict[str, Any] | None:
    return None if brick is None else {"name": brick.name, **brick.arguments}


# As YAML has it: the name beside the keywords.
Brick = Annotated[BrickSettings, PlainSerializer(_flat)]
MaybeBrick = Annotated[BrickSettings | None, PlainSerializer(_flat)]


class PartSettings(Strict):
    """One part of the items: a source with its own item encoder.

    ``lr`` is the rate of its new weights, null that of the run; ``dropout`` is the share of items that it is
    left out of in training.
    """

    source: Brick
    item_encoder: Brick
    lr: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class TowerSettings(Strict):
    """The ``model`` layer of a recommender of two towers.

    Items have a ``source`` and an ``item_encoder``, or several ``parts`` with one of each, and a ``join``.
    """

    family: Literal["tower"] = "tower"
    name: SafeName
    suggested: SuggestedSettings | None = None
    source: MaybeBrick = None
    item_encoder: MaybeBrick = None
    parts: dict[PartName, PartSettings] = {}
    join: MaybeBrick = None
    user_encoder: Brick
    user_plugin: MaybeBrick = None
    predictor: Brick
    objective: Brick

    @property
    def item_parts(self) -> dict[str, PartSettings]:
        """The parts of the items by name, in its order; ``ONLY`` is the one of items with a single source.

        Equal settings have them in one order, however they were written.
        """
        if self.source is not None and self.item_encoder is not None:
            return {ONLY: PartSettings(source=self.source, item_encoder=self.item_encoder)}
        return dict(sorted(self.parts.items()))

    def bricks(self) -> dict[str, tuple[str, BrickSettings]]:
        """Kind and settings of each brick, by its place in the layer."""
        found: dict[str, tuple[str, BrickSettings]] = {}
        for kind, row in KINDS.items():
            if row.of_part:
                parts = self.item_parts.items()
                found |= {place_of(name, kind): (kind, getattr(part, kind)) for name, part in parts}
            elif (brick := getattr(self, kind)) is not None:
                found[kind] = (kind, brick)
        return found


ModelSettings = TowerSettings  # of any family


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


def _names(value: Any) -> Any:
    """One name is a list of one."""
    return [value] if isinstance(value, str) else value


class WorkerSettings(Strict):
    """The worker's own flags."""

    seed: int = Field(default=2023, ge=0, lt=2**63)
    device: Device = "auto"
    resume: Flag = False
    overwrite: Flag = False
    dry_run: Flag = False
    stage: Text | None = None
    runs: Text = "runs"
    allow: Annotated[list[Text], BeforeValidator(_names)] = []
