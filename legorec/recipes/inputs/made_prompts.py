"""Prompts as the settings spell them, over the items, users and histories of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from legorec.data.item_text import ItemText, stored_field
from legorec.data.ragged import Ragged
from legorec.lm.pretrained import Pretrained
from legorec.prompts import (
    AnswerSegment,
    HistorySegment,
    ItemSegment,
    OfItems,
    Prompt,
    PromptVocabulary,
    ResponseSegment,
    Segment,
    TextSegment,
    UserSegment,
)
from legorec.recipes.inputs.chat import as_chat, chat_turn
from legorec.recipes.inputs.digests import data_digests
from legorec.recipes.inputs.store_data import Data

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.prompted import PromptSettings, SegmentSettings


def text_of(data: Data) -> ItemText:
    """How the items are read, and by which tokenizer.

    Raises:
        ValueError: by none.
    """
    text = data.reading(by_language_model=True).text
    if text is None:
        raise ValueError("a prompted model reads items as text: `data.text` must name a template")
    return text


def make_prompt(
    chosen: PromptSettings,
    data: Data,
    vocabulary: PromptVocabulary,
    pretrained: Pretrained | None = None,
) -> Prompt:
    """The prompt that the settings spell, over the items and histories of a store.

    Raises:
        ValueError: it is impossible, or is to be a chat, for which the model has no template.
    """
    text = text_of(data)
    segments = [segment_of(each) for each in chosen.segments if each.when]
    if chosen.chat:
        if pretrained is None:
            raise ValueError("`prompt.chat` (--chat) takes the template of a checkpoint, and there is none")
        segments = as_chat(segments, chat_turn(pretrained.folder, pretrained.name))
    templates = {part.template for part in segments if isinstance(part, OfItems)}
    items = {
        each: ItemText(each, text.tokenizer, text.tokenizer_name, vocabulary.encode).from_store(data.store)
        for each in sorted(templates)
    }
    return Prompt(
        segments,
        vocabulary,
        items,
        data.histories,
        users={each: user_text(data, each, vocabulary) for each in user_fields(segments)},
        marks=data.store.marks,
        mark_names=data.store.mark_names,
        max_length=chosen.max_length,
        loss_on=chosen.loss_on,
    )


def user_fields(segments: Sequence[Segment]) -> list[str]:
    """The fields of the users that a prompt names, each once."""
    named = [part.field for part in segments if isinstance(part, UserSegment) and part.field is not None]
    return list(dict.fromkeys(named))


def user_text(data: Data, field: str, vocabulary: PromptVocabulary) -> Ragged:
    """The tokens of a field of every user, by the tokenizer of the items."""
    text = text_of(data)
    reader = ItemText(f"{{{field}}}", text.tokenizer, text.tokenizer_name, vocabulary.encode)
    return reader.from_store(data.store, data.store.users)


def segment_of(settings: SegmentSettings) -> Segment:
    """One segment as the settings have it."""
    if settings.text is not None:
        return TextSegment(settings.name, settings.text)
    if settings.item is not None:
        return ItemSegment(settings.name, settings.item)
    if settings.answer is not None:
        return AnswerSegment(settings.name, *settings.answer)
    if settings.response is not None:
        return ResponseSegment(settings.name, settings.response)
    if settings.user is not None:
        return UserSegment(settings.name, settings.user_field, settings.budget, settings.empty)
    return HistorySegment(
        settings.name,
        str(settings.history),
        settings.separator,
        tuple(settings.marks),
        settings.last,
        settings.budget,
        settings.empty,
    )


def prompt_digests(settings: Settings, data: Data, prompt: Prompt) -> dict[str, str]:
    """Digests of all that the prompts are made of."""
    text = text_of(data)
    templates = [part.template for part in prompt.segments if isinstance(part, OfItems)]
    texts = [ItemText(each, text.tokenizer, text.tokenizer_name) for each in templates]
    names = dict.fromkeys(name for each in texts for name in each.field_names)
    fields = [stored_field(data.store, name, text.tokenizer_name) for name in names]
    named, users = user_fields(prompt.segments), data.store.users
    theirs = [stored_field(data.store, name, text.tokenizer_name, users) for name in named]
    return data_digests(settings, data, fields, users=bool(named), user_fields=theirs)
