"""Open the store that the settings name, cut as they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from legorec import registry
from legorec.abilities import LanguageModel, LanguageSourceClass
from legorec.build import build_arguments
from legorec.data.catalog import Catalog, columns
from legorec.data.clicks import TrainingClicks
from legorec.data.evaluation import Impressions
from legorec.data.filters import Rule, few_shots, filtered, sampled
from legorec.data.histories import Histories
from legorec.data.interactions import Interactions
from legorec.data.item_text import ItemText, tokenization_of
from legorec.data.latest import latest_spans
from legorec.data.store import Store
from legorec.data.table import Field
from legorec.recipes.inputs.rules import rule_of
from legorec.settings.brick_places import place_of

if TYPE_CHECKING:
    from legorec.settings import DataSettings, Settings
    from legorec.settings.schema import BrickSettings, TextSettings


TRAIN, DEV = "train", "dev"
KEPT = ("store", "catalog", "settings", "language_model", "text", "seed", "counted")  # in a pickle


@dataclass
class Data:
    """One store as the settings cut it."""

    store: Store
    catalog: Catalog  # of the fields; of the text where there are none
    histories: Histories
    settings: DataSettings
    language_model: LanguageModel | None = None  # that reads the items
    text: Catalog | None = None  # what it reads, where the other sources read fields
    seed: int = 2023  # by which few shots are drawn
    counted: np.ndarray | None = None  # (num_items,) of clicks, where a saved model brings them
    filtered: list[str] = field(default_factory=list)  # a line for each split that filters were applied to
    _rules: dict[int, Rule] = field(default_factory=dict)
    _kept: dict[str, Interactions] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped from the store, which is mapped again where a pickle is read."""
        return {name: getattr(self, name) for name in KEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        histories = histories_of(state["store"], state["settings"])
        self.__dict__.update(state, histories=histories, filtered=[], _rules={}, _kept={})

    @property
    def num_items(self) -> int:
        return len(self.store.items)

    @property
    def catalogs(self) -> list[Catalog]:
        """Every reading of the items."""
        return [self.catalog] if self.text is None else [self.catalog, self.text]

    def reading(self, by_language_model: bool) -> Catalog:
        """What a source reads of the items."""
        return self.text if self.text is not None and by_language_model else self.catalog

    @property
    def num_real(self) -> int:
        """Items before the generated ones, which are the last rows; only these are ever candidates."""
        return self.store.items.num_real

    @property
    def max_history(self) -> int:
        """The most clicks that a model is shown, at least 1."""
        return self.settings.history.max_length or max(1, self.store.longest_history)

    @cached_property
    def profiles(self) -> Catalog | None:
        """The users' fields, where `data.user_fields` names some."""
        fields = self.settings.user_fields
        return Catalog.from_table(self.store.users, fields) if fields else None

    @cached_property
    def training(self) -> TrainingClicks:
        """The training split, all that training may see; the popularity baseline counts it too."""
        return self.clicks("train")

    @cached_property
    def popularity(self) -> np.ndarray | None:
        """(num_items,) how many users clicked each item in the training split; None where nothing says it."""
        if self.counted is not None or self.settings.splits.train not in self.store.splits:
            return self.counted
        return self.training.known.counts()

    def clicks(self, split: str) -> TrainingClicks:
        """The clicks of ``train``, or of another split that is learned from, or whose loss is measured."""
        whole, items = self.store.interactions(getattr(self.settings.splits, split)), self.num_items
        kept = self.interactions(split)
        if kept is whole:
            return TrainingClicks(whole, self.histories, items, num_real=self.num_real)
        allowed = [rule.items for rule in self.rules(split) if rule.items is not None]
        both = np.logical_and.reduce(allowed) if allowed else None
        return TrainingClicks(kept, self.histories, items, whole, both, self.num_real)

    def rules(self, split: str) -> list[Rule]:
        """The filters for a split, as ``data.filters`` has them."""
        places = [place for place, each in enumerate(self.settings.filters) if split in each.splits]
        for place in places:
            if place not in self._rules:
                self._rules[place] = rule_of(self.settings.filters[place], self.store)
        return [self._rules[place] for place in places]

    def interactions(self, split: str) -> Interactions:
        """What the filters, and few shots, keep of ``train``, ``dev`` or ``test``.

        Raises:
            ValueError: they keep nothing, or no click where there are clicks.
        """
        whole, rules = self.store.interactions(getattr(self.settings.splits, split)), self.rules(split)
        shots = self.settings.shots if split == TRAIN else None
        most = self.settings.dev_rows if split == DEV else None
        if not rules and shots is None and most is None:
            return whole
        if split not in self._kept:
            kept = self._filtered(whole, rules, split) if rules else whole
            if shots is not None:
                stratified = self.settings.stratified
                kept = few_shots(kept, shots, self.seed, stratified)
                how = ", stratified by label" if stratified else ""
                self.filtered.append(
                    f"shots: {len(kept):,} of {len(whole):,} {split} impressions are kept{how}"
                )
            if most is not None:
                kept = sampled(kept, most, self.seed)
                self.filtered.append(
                    f"dev_rows: {len(kept):,} of {len(whole):,} {split} impressions are kept"
                )
            self._kept[split] = kept
        return self._kept[split]

    def _filtered(self, whole: Interactions, rules: list[Rule], split: str) -> Interactions:
        found = filtered(whole, self.histories, rules, self.num_real)
        said = found.said(rules, split, len(whole))
        for what, before, after in (
            ("impression", len(whole), len(found.interactions)),
            ("click", np.any(whole.labels), np.any(found.interactions.labels)),
        ):
            if before and not after:
                raise ValueError(f"`data.filters` keep no {what} of {self.place(split)}; {said}")
        self.filtered.append(said)
        return found.interactions

    def place(self, split: str) -> str:
        """The store and the split, for messages."""
        return f"{self.store.path}, split '{getattr(self.settings.splits, split)}'"

    def impressions(self, split: str) -> Impressions:
        """The impressions of ``dev`` or ``test``, to be ranked."""
        return Impressions(self.interactions(split), self.histories, self.num_items, self.settings.group_by)

    def category(self, name: str, place: str) -> Field:
        """A field of the items that holds categories.

        Args:
            place: of the setting that names it, for messages.

        Raises:
            ValueError: there is none of that name, or it holds something else.
        """
        field = self.store.items.field(name)
        if field.vocabulary is None or field.kind == "text":
            raise ValueError(f"`{place}`: '{name}' is no category but a {field.kind}")
        return field

    def latest_spans(self, splits: Sequence[str] = ("train", "dev", "test")) -> np.ndarray:
        """(U,) the span before the last impression of each user in these splits, see ``data.latest``.

        Filters change nothing here: the last impression is the last one that is stored.
        """
        names = dict.fromkeys(getattr(self.settings.splits, split) for split in splits)
        tables = [self.store.interactions(name) for name in names if name in self.store.splits]
        return latest_spans(tables, self.histories, len(self.store.users))


def open_data(settings: Settings, splits: Iterable[str] = ()) -> Data:
    """Open the store, cut its fields or fill its template, and cut its histories to length.

    Raises:
        ValueError: it is missing, altered, made otherwise, or lacks a field, a tokenization or one of
            ``splits``.
    """
    return opened(settings, splits, language_model_of(settings))


def opened(settings: Settings, splits: Iterable[str], language_model: LanguageModel | None) -> Data:
    """``open_data`` of a model of any family; ``language_model`` is the one that reads the items' text."""
    data = settings.data
    store = Store.open(Path(data.store))
    wanted = [getattr(data.splits, split) for split in splits]
    store.require(columns(data.fields), data.made_with, wanted, columns(data.user_fields))
    histories = histories_of(store, data)
    fields = _fields_catalog(settings, store) if data.fields else None
    text = _text_catalog(data.text, store, language_model) if data.text is not None else None
    main, other = (text, None) if fields is None else (fields, text)
    assert main is not None, "items are read in one way at least"
    found = Data(store, main, histories, data, language_model, other, settings.seed)
    for split in splits:  # what is refused is refused now
        found.interactions(split)
    return found


def histories_of(store: Store, settings: DataSettings) -> Histories:
    """The clicks before each impression, cut to length."""
    return Histories(store.histories, store.spans, settings.history.max_length)


class LanguagePart(NamedTuple):
    """The source of the items whose states come from a language model."""

    source: LanguageSourceClass
    settings: BrickSettings
    place: str  # in the model layer


def language_part(settings: Settings) -> LanguagePart | None:
    """The source of a language model, if there is one; the settings have allowed one at most."""
    for name, part in settings.model.item_parts.items():
        found = registry.load(registry.find("source", part.source.name))
        if isinstance(found, LanguageSourceClass):
            return LanguagePart(found, part.source, f"model.{place_of(name, 'source')}")
    return None


def language_model_of(settings: Settings) -> LanguageModel | None:
    """The language model that a source reads, if one does.

    Raises:
        ValueError: there is no such model.
    """
    found = language_part(settings)
    if found is None:
        return None
    return found.source.language_model(build_arguments("source", found.settings))


def _fields_catalog(settings: Settings, store: Store) -> Catalog:
    given = {table.field for table in settings.embed.tables}
    cuts = {
        name: cut.model_copy(update={"own_table": True}) if name in given else cut
        for name, cut in settings.data.fields.items()
    }
    return Catalog.from_store(store, cuts)


def _text_catalog(text: TextSettings, store: Store, own: LanguageModel | None) -> Catalog:
    name = text.tokenizer
    if own is not None:
        name = tokenization_of(store, own.tokenizer(), own.name, name)
    if name is None:
        raise ValueError(
            "`data.text.tokenizer` must name one of the store's tokenizations where the model is no language "
            f"model with a tokenizer of its own; there are {', '.join(store.manifest['tokenizers'])}"
        )
    return Catalog.from_text(store, ItemText(text.template, store.tokenizer(name), name))


def sources_said(settings: Settings) -> str:
    """The sources of the items, for messages."""
    named = [
        f"model.{place_of(name, 'source')} is '{part.source.name}'"
        for name, part in settings.model.item_parts.items()
    ]
    return ", ".join(named)
