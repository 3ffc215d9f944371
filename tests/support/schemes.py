"""Small schemes over the small store."""

from __future__ import annotations

from typing import Any

from legorec.settings.scheme import SchemeSettings

TITLES: dict[str, Any] = {
    "name": "titles",
    "of": "items",
    "system": "You are a librarian.",
    "user": "[title] {title:2} [category] {category} [genres] {genres} [price] {price}",
    "answer": {"form": "labelled", "fields": {"newtitle": {}}},
}
PROFILES: dict[str, Any] = {
    "name": "profiles",
    "of": "users",
    "system": "Choose from: {topics}.",
    "user": "Clicks:\n{history}",
    "click": "({number}) {title} {{{category}}}",
    "answer": {
        "form": "labelled",
        "fields": {
            "topics": {"kind": "list", "choices": ["news", "sport"]},
            "region": {"kind": "list", "choices": ["north"], "required": False},
        },
    },
}
INVENTED: dict[str, Any] = {
    "name": "invented",
    "of": "users",
    "makes": "items",
    "user": "Clicks:\n{history}",
    "click": "{title}",
    "answer": {
        "form": "json",
        "fields": {"title": {}, "category": {"choices": ["news", "sport"], "required": False}},
    },
}

SUMMARIES: dict[str, Any] = {
    "name": "summaries",
    "of": "users",
    "history": "earliest",
    "user": "first of\n{history}",
    "click": "{title}",
    "blocks": {
        "combine": "recurrent",
        "size": 2,
        "merge": "merged of\n{summaries}",
        "update": "after {summary} came\n{history}",
    },
    "answer": {"form": "text", "fields": {"summary": {}}},
}


def scheme(tree: dict[str, Any], **changed: Any) -> SchemeSettings:
    """The settings of a scheme, with other values for some keys."""
    return SchemeSettings.model_validate(tree | changed)
