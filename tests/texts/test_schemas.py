"""A plain schema takes and refuses what its words say, and the schemas of pydantic's own models are read."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from legorec.texts.schemas import SchemaError, adapter_of


def fits(schema, value):
    try:
        adapter_of(schema).validate_json(json.dumps(value))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["", "a"], [1, None, ["a"]]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^a+$"}, ["aa"], ["ab", ""]),
        ({"type": "integer"}, [0, -3], [0.5, "3", True, None]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4]),
        ({"type": "number", "exclusiveMinimum": 0}, [0.1, 3], [0, "1"]),
        ({"type": "boolean"}, [True, False], [0, "true", None]),
        ({"type": "null"}, [None], [0, ""]),
        ({"enum": ["a", 1, None]}, ["a", 1, None], ["b", 2]),
        ({"const": "a"}, ["a"], ["b"]),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            [[], ["a", "b"]],
            [["a"] * 3, [1], "a"],
        ),
        ({"type": "array", "minItems": 1}, [[1, "a"]], [[]]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [1.5, None]),
        ({"type": "object"}, [{}, {"a": 1}], [[], 1]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "b"}]),
        (
            {
                "type": "object",
                "properties": {"model_": {"type": "integer"}, "a b": True},
                "required": ["a b"],
            },
            [{"a b": []}, {"a b": 1, "model_": 2, "more": 3}],
            [{}, {"a b": 1, "model_": "x"}, {"a b": 1, "model_": None}],
        ),
    ],
    ids=lambda each: json.dumps(each)[:40],
)
def test_the_words_of_a_schema(schema, good, bad):
    assert [value for value in good if not fits(schema, value)] == []
    assert [value for value in bad if fits(schema, value)] == []


class Interest(BaseModel):
    topic: Literal["sports", "music"]
    weight: float | None = None


class Profile(BaseModel):
    """Of a reader."""

    interests: list[Interest] = Field(min_length=1, max_length=5)
    region: str | None = Field(None, description="a state")


def test_a_model_of_pydantic_is_read_from_its_schema():
    schema = Profile.model_json_schema()
    assert "$defs" in schema
    good = {"interests": [{"topic": "music", "weight": 0.5}], "region": None}
    assert fits(schema, good) and Profile.model_validate(good)
    for bad in ({"interests": []}, {"interests": [{"topic": "war"}]}, {"interests": ["music"]}, {}):
        assert not fits(schema, bad)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "text"}, "answer: `type` must be one of string, "),
        ({"type": "string", "format": "date"}, "answer: `format` of type string cannot be checked"),
        ({"type": "array", "items": {"type": "any"}}, "answer.items: `type` must be"),
        ({"type": "object", "properties": {"a": {"if": {}}}}, "answer.a: `type` must be"),
        ({"type": "object", "required": ["a"]}, "names 'a', which is no property"),
        ({"enum": []}, "`enum` must list"),
        ({"enum": ["a"], "minLength": 1}, "`minLength` beside `enum`"),
        ({"$ref": "https://host/schema"}, "must lead to one of the schema's own"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads back to itself"),
        (
            {"type": "object", "properties": {"a": True}, "additionalProperties": {"type": "string"}},
            "true or false",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(schema, message):
    with pytest.raises(SchemaError, match=message.replace("$", r"\$")):
        adapter_of(schema)
