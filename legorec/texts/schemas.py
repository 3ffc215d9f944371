"""JSON schemas as pydantic types: those that pydantic writes, and plain ones of the same words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

from pydantic import ConfigDict, Field, TypeAdapter, create_model

_PLAIN: dict[str, Any] = {"boolean": bool, "null": None}
_TEXT = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_NUMBER = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LIST = {"minItems": "min_length", "maxItems": "max_length"}
_REMARKS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs"}
# The words that each kind of schema may hold beside remarks.
_WORDS = {
    "string": {"type", *_TEXT},
    "integer": {"type", *_NUMBER},
    "number": {"type", *_NUMBER},
    "boolean": {"type"},
    "null": {"type"},
    "array": {"type", "items", *_LIST},
    "object": {"type", "properties", "required", "additionalProperties"},
}


class SchemaError(ValueError):
    """A schema that is none, or holds a word that cannot be checked."""


def adapter_of(schema: Mapping[str, Any]) -> TypeAdapter[Any]:
    """What checks a value against a schema, strictly: "3" is no integer.

    Raises:
        SchemaError: a word of the schema is not known, or it refers to itself.
    """
    return _adapter(json.dumps(schema))


@lru_cache(maxsize=64)
def _adapter(text: str) -> TypeAdapter[Any]:
    schema = json.loads(text)
    return TypeAdapter(_type(schema, schema, (), "answer"), config=None)


def _type(schema: Any, root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    """The type of one schema within ``root``; ``seen`` are the references that led here."""
    if schema is True or schema == {}:
        return Any
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{place}: a JSON schema must be an object, got {schema!r}")
    words = set(schema) - _REMARKS
    for word in ("$ref", "anyOf", "enum", "const"):
        if word in words:
            if extra := words - {word, "type"}:
                raise SchemaError(f"{place}: `{min(extra)}` beside `{word}` cannot be checked; take it out")
            return _SPECIAL[word](schema[word], root, seen, place)
    kind = schema.get("type")
    if isinstance(kind, list):
        parts = [{**schema, "type": each} for each in kind]
        return _any_of(parts, root, seen, place)
    if kind not in _WORDS:
        raise SchemaError(f"{place}: `type` must be one of {', '.join(_WORDS)}, got {kind!r}")
    if extra := words - _WORDS[kind]:
        raise SchemaError(f"{place}: `{min(extra)}` of type {kind} cannot be checked; take it out")
    if kind == "object":
        return _object(schema, root, seen, place)
    if kind == "array":
        item = _type(schema.get("items", {}), root, seen, f"{place}.items")
        return Annotated[list[item], Field(**_limits(schema, _LIST))]  # type: ignore[valid-type]
    if kind == "string":
        return Annotated[str, Field(strict=True, **_limits(schema, _TEXT))]
    if kind in _PLAIN:
        return Annotated[bool, Field(strict=True)] if kind == "boolean" else None
    number: Any = int if kind == "integer" else float
    return Annotated[number, Field(strict=True, **_limits(schema, _NUMBER))]


def _limits(schema: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {ours: schema[theirs] for theirs, ours in names.items() if theirs in schema}


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    more = schema.get("additionalProperties", True)
    if not properties and isinstance(more, Mapping):
        return dict[str, _type(more, root, seen, f"{place}.*")]  # type: ignore[misc]
    if not isinstance(more, bool):
        raise SchemaError(f"{place}: `additionalProperties` beside `properties` must be true or false")
    if unknown := set(required) - set(properties):
        raise SchemaError(f"{place}: `required` names '{min(unknown)}', which is no property")
    fields: dict[str, Any] = {}
    for number, (name, each) in enumerate(properties.items()):
        kind = _type(each, root, seen, f"{place}.{name}")
        # Named by number: a property may be called as no attribute of a model may.
        default = ... if name in required else None
        fields[f"field_{number}"] = (kind, Field(default, alias=name))
    config = ConfigDict(extra="allow" if more else "forbid", strict=True, protected_namespaces=())
    return create_model("Answer", __config__=config, **fields)


def _reference(given: Any, root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    name = str(given).removeprefix("#/$defs/")
    if given in seen:
        raise SchemaError(f"{place}: `$ref` {given} leads back to itself, which cannot be checked")
    if name not in root.get("$defs", {}):
        raise SchemaError(f"{place}: `$ref` must lead to one of the schema's own `$defs`, got {given!r}")
    return _type(root["$defs"][name], root, (*seen, str(given)), place)


def _any_of(given: Any, root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    return Union[tuple(_type(each, root, seen, place) for each in given)]  # noqa: UP007 - of a list


def _listed(given: Any, root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    if not given or not all(isinstance(each, str | int | bool | None) for each in given):
        raise SchemaError(
            f"{place}: `enum` must list texts, whole numbers, true, false or null, got {given!r}"
        )
    return Literal[tuple(given)]


def _constant(given: Any, root: Mapping[str, Any], seen: tuple[str, ...], place: str) -> Any:
    return _listed([given], root, seen, place)


_SPECIAL = {"$ref": _reference, "anyOf": _any_of, "enum": _listed, "const": _constant}
