"""Plain trees -> typed settings; every problem is collected, in the words of this project."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from legorec.compose import COMMAND_LINE, MASK, Composition, Problem, is_secret
from legorec.registry import (
    KINDS,
    OFFERED,
    UNREAD,
    Brick,
    FieldType,
    Parameter,
    RegistryError,
    did_you_mean,
    find,
)
from legorec.settings.schema import BrickSettings, Flag, Strict, Text, empty_block

Model = TypeVar("Model", bound=BaseModel)

_BOUNDS = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
}
_TYPES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "dict_type": "must be a block of `key: value`",
    "model_type": "must be a block of `key: value`",
    "model_attributes_type": "must be a block of `key: value`",
}


def checked(schema: type[Model], tree: Any, place: str, composition: Composition) -> Model | None:
    """The settings of a block, or None after its problems were noted."""
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, schema, place, composition)
        return None


def checked_brick(kind: str, block: Any, composition: Composition) -> BrickSettings:
    """A brick's block against its constructor; a placeholder after its problems were noted."""
    place = f"model.{kind}"
    placeholder = BrickSettings(name="?")

    def note(where: str, message: str) -> None:
        if not composition.is_unresolved(where):
            composition.problems.append(Problem(composition.where(where), where, message))

    if not isinstance(block, dict):
        note(place, f"must be a block with the name of a brick, as in {{name: ...}}, got {block!r}")
        return placeholder
    name = block.get("name")
    if not isinstance(name, str):
        rule = "must be text" if "name" in block else "is required"
        note(f"{place}.name", f"{rule}: the name of a {KINDS[kind].name}, got {name!r}")
        return placeholder
    try:
        brick = find(kind, name)
        schema = _schema_of(brick)
    except RegistryError as error:
        note(f"{place}.name", str(error))
        return placeholder
    given = {key: value for key, value in block.items() if key != "name"}
    for key in [key for key in given if key in OFFERED]:
        note(f"{place}.{key}", f"is told by the program ({OFFERED[key]}) and may not be set")
        del given[key]
    allowed = list(schema.model_fields)
    for key in [key for key in given if key not in allowed]:
        note(f"{place}.{key}", _no_such_setting(key, allowed) + _whole_block(kind, name, composition))
        del given[key]
    options = checked(schema, given, place, composition)
    # With a setting of its that is wrong, a brick may still be one that does not fit.
    return BrickSettings(name=name, arguments={} if options is None else _arguments(brick, options))


def _no_such_setting(key: str, allowed: list[str]) -> str:
    listed = f"allowed here: {', '.join(allowed)}" if allowed else "nothing can be set here"
    return f"there is no such setting; {listed}{did_you_mean(key, allowed)}"


def _whole_block(kind: str, name: str, composition: Composition) -> str:
    """The way out for who names another brick and leaves the settings of the first one."""
    if not composition.where(f"model.{kind}.name").startswith(COMMAND_LINE):
        return ""
    return f"; to replace the whole block give --model.{kind} '{{name: {name}}}'"


def _arguments(brick: Brick, options: BaseModel) -> dict[str, Any]:
    """What was given, and of the rest the defaults that can be read, in the constructor's order."""
    dumped = options.model_dump()
    unread = {each.name for each in brick.settable if each.default is UNREAD}
    return {
        key: value for key, value in dumped.items() if key in options.model_fields_set or key not in unread
    }


def _schema_of(brick: Brick) -> type[BaseModel]:
    return _block_schema(brick.class_name, brick.settable, f"{brick.kind} {brick.name}")


def _block_schema(name: str, parameters: Iterable[Parameter], owner: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for each in parameters:
        if each.type is None:
            if each.required:
                raise RegistryError(
                    f"{owner} needs `{each.name}: {each.annotation}`, which YAML cannot fill and the program "
                    f"does not offer (it offers {', '.join(OFFERED)})"
                )
            continue
        default = ... if each.required else None if each.default is UNREAD else each.default
        default = list(default) if isinstance(default, tuple) else default  # as YAML has it
        fields[each.name] = (_python_type(each.type, owner), Field(default=default))
    return create_model(name, __base__=Strict, **fields)


def _python_type(read: FieldType, owner: str) -> Any:
    found: Any
    if read.form == "literal":
        found = Literal[read.choices]
    elif read.form == "list" and read.item is not None:
        found = list[_python_type(read.item, owner)]  # type: ignore[misc]
    elif read.form == "block":
        found = _block_schema(read.block_name, read.block, owner)
        found = found if read.nullable else Annotated[found, BeforeValidator(empty_block)]
    else:
        found = {"int": int, "float": float, "bool": Flag, "str": Text}[read.form]
    return found | None if read.nullable else found


def _note(detail: ErrorDetails, schema: type[BaseModel], place: str, composition: Composition) -> None:
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    where = ".".join([place, *map(str, loc)] if place else map(str, loc))
    if composition.is_unresolved(where):
        return
    if detail["type"] == "missing" and where.split(".")[0] in composition.failed:
        return
    if is_secret(where):
        detail["input"] = MASK
    message = _say(detail, schema, loc)
    composition.problems.append(Problem(composition.where(where), where, message))


def _say(detail: ErrorDetails, schema: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "extra_forbidden":
        return _no_such_setting(str(loc[-1]), list(_block_at(schema, loc[:-1]).model_fields))
    if kind == "missing":
        return f"is required{_as_what(_block_at(schema, loc[:-1]), str(loc[-1]))}"
    got = f", got {value!r}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context) + got
    if kind == "literal_error":
        return f"must be {context['expected']}{got}{_near_literal(schema, loc, value)}"
    if kind == "value_error":
        text = str(context["error"])
        return text if repr(value) in text else text + got
    return _TYPES.get(kind, detail["msg"]) + got


def _as_what(block: type[BaseModel], name: str) -> str:
    field = block.model_fields.get(name)
    if field is None:
        return ""
    if isinstance(field.annotation, type):
        said = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
        return f": {said.get(field.annotation.__name__, 'a block')}"
    choices = _choices(field.annotation)
    return f": {' or '.join(map(repr, choices))}" if choices else ""


def _near_literal(schema: type[BaseModel], loc: tuple[int | str, ...], value: Any) -> str:
    names = [part for part in loc if isinstance(part, str)]
    field = _block_at(schema, tuple(names[:-1])).model_fields.get(names[-1]) if names else None
    return did_you_mean(str(value), [str(each) for each in _choices(field.annotation)]) if field else ""


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for inner in get_args(annotation) for choice in _choices(inner))


def _block_at(schema: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The block that a place lies in; list positions and free names of a mapping are stepped over."""
    for part in loc:
        field = schema.model_fields.get(str(part))
        inner = _block_in(field.annotation) if field else None
        schema = inner or schema
    return schema


def _block_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    if get_origin(annotation) in (list, dict, Union, types.UnionType, Annotated):
        for inner in get_args(annotation):
            if (found := _block_in(inner)) is not None:
                return found
    return None
