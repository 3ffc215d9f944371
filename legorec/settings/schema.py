"""The settings of data, embed, model and worker, typed and strict: a key that is not here is an error."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from legorec.registry import KINDS
from legorec.settings.brick_places import ONLY, place_of
from legorec.settings.filters import FilterSettings
from legorec.settings.values import (
    Count,
    Device,
    Epochs,
    FieldName,
    Flag,
    PartName,
    Positive,
    Rate,
    SafeName,
    Schedule,
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
    left out of in training. A part that learns single items knows those that ``least_clicks`` users or more
    clicked in training, 0: all that training sees.
    """

    source: Brick
    item_encoder: Brick
    lr: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    least_clicks: Annotated[int, Field(ge=0)] = 0


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
