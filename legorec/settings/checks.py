"""Plain trees -> typed settings; every problem is collected, in the words of this project."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from legorec.compose import COMMAND_LINE, MASK, Composition, Problem, is_secret, without_credentials
from legorec.registry import (
    KINDS,
    UNREAD,
    Brick,
    FieldType,
    Parameter,
    RegistryError,
    did_you_mean,
    find,
    unreadable,
    why_not,
)
from legorec.settings.resolved import as_meant
from legorec.settings.schema import BrickSettings
from legorec.settings.values import Flag, Strict, Text, empty_block

Model = TypeVar("Model", bound=BaseModel)
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what torch can take

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


def checked_brick(kind: str, block: Any, place: str, composition: Composition) -> BrickSettings:
    """A brick's block against its constructor; a placeholder after its problems were noted."""
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
        note(f"{place}.name", f"{rule}: the name of a {kind}, got {name!r}")
        return placeholder
    if composition.saved is not None and composition.is_saved(f"{place}.name"):
        if wrong := why_not(kind, name, allowed_packages(composition), composition.saved.folder):
            note(f"{place}.name", wrong)
            return placeholder
    try:
        brick = find(kind, name)
        schema = _schema_of(brick)
    except RegistryError as error:
        note(f"{place}.name", str(error))
        return placeholder
    if composition.saved is not None and composition.is_saved(f"{place}.name"):
        block = as_meant(brick, block)
    given = {key: value for key, value in block.items() if key != "name"}
    offered, allowed = KINDS[kind].offered, _fields(schema)
    for key in [key for key in given if key not in allowed]:
        if key in schema.unreadable:
            note(f"{place}.{key}", schema.unreadable[key])
        elif key in offered:
            note(f"{place}.{key}", f"is told by the program ({offered[key]}) and may not be set")
        else:
            note(f"{place}.{key}", _no_such_setting(key, schema) + _whole_block(place, name, composition))
        del given[key]
    options = checked(schema, given, place, composition)
    # With a setting of its that is wrong, a brick may still be one that does not fit.
    return BrickSettings(name=name, arguments={} if options is None else _arguments(options))


def allowed_packages(composition: Composition) -> list[str]:
    """The packages from which saved settings may bring in code, as the command line says."""
    given = composition.flags.get("allow")
    every = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [str(each) for each in every]


def _no_such_setting(key: str, schema: type[BaseModel]) -> str:
    allowed = list(_fields(schema))
    listed = f"allowed here: {', '.join(allowed)}" if allowed else "nothing can be set here"
    return f"there is no such setting; {listed}{did_you_mean(key, allowed)}"


def _fields(schema: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a block, called as YAML has them."""
    return {field.alias or name: field for name, field in schema.model_fields.items()}


def _whole_block(place: str, name: str, composition: Composition) -> str:
    """The way out for who names another brick and leaves the settings of the first one."""
    if not composition.where(f"{place}.name").startswith(COMMAND_LINE):
        return ""
    return f"; to replace the whole block give --{place} '{{name: {name}}}'"


class _Block(Strict):
    """Keywords of a constructor; called so in YAML alone, as some could not be attributes of a model."""

    unreadable: ClassVar[dict[str, str]] = {}  # its other keywords, and why they cannot be set


def _arguments(options: BaseModel) -> dict[str, Any]:
    """What was given, and of the rest the defaults that can be read, in the constructor's order."""
    fields = type(options).model_fields.items()
    values = {field.alias or name: getattr(options, name) for name, field in fields}
    return {key: _plain(value) for key, value in values.items() if value is not UNREAD}


def _plain(value: Any) -> Any:
    return _arguments(value) if isinstance(value, BaseModel) else value


_SCHEMAS: dict[tuple[str, str], type[_Block]] = {}  # of bricks, which take longer to make than to check


def _schema_of(brick: Brick) -> type[_Block]:
    for each in brick.own:
        if each.type is None and each.required:
            offered = ", ".join(KINDS[brick.kind].offered) or "nothing"
            raise RegistryError(
                f"{brick.kind} {brick.name} needs `{each.written}` ({each.place}), which YAML cannot fill "
                f"and the program does not offer: {each.unreadable}, or give it a default; offered to a "
                f"{KINDS[brick.kind].said} are {offered}"
            )
    # What is written counts, so that a class that was changed meanwhile is read again: 1 and 1.0 differ.
    key = (brick.class_name, repr(brick.own))
    if key not in _SCHEMAS:
        _SCHEMAS[key] = _block_schema(brick.class_name, brick.own)
    return _SCHEMAS[key]


def _block_schema(name: str, parameters: Iterable[Parameter]) -> type[_Block]:
    fields: dict[str, Any] = {}
    parameters = list(parameters)
    for place, each in enumerate(parameters):
        if each.type is None:
            continue
        default = list(each.default) if isinstance(each.default, tuple) else each.default  # as YAML has it
        given: Any = {} if each.required else {"default": default}
        if default is UNREAD:
            given = {"default_factory": lambda: UNREAD}
        fields[f"argument_{place}"] = (_python_type(each.type), Field(alias=each.name, **given))
    schema = create_model(name, __base__=_Block, **fields)
    schema.unreadable = unreadable(parameters)
    return schema


def _python_type(read: FieldType) -> Any:
    found: Any
    if read.form == "literal":
        found = Literal[read.choices]
    elif read.form == "list" and read.item is not None:
        found = list[_python_type(read.item)]  # type: ignore[misc]
    elif read.form == "block":
        found = _block_schema(read.block_name, read.block)
        found = found if read.nullable else Annotated[found, BeforeValidator(empty_block)]
    else:
        found = {"int": Whole, "float": float, "bool": Flag, "str": Text}[read.form]
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
        block, key = _block_at(schema, loc[:-1]), str(loc[-1])
        told = block.unreadable.get(key) if issubclass(block, _Block) else None
        return told or _no_such_setting(key, block)
    if kind == "missing":
        return f"is required{_as_what(_block_at(schema, loc[:-1]), str(loc[-1]))}"
    got = without_credentials(f", got {value!r}")
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context) + got
    if kind == "literal_error":
        return f"must be {context['expected']}{got}{_near_literal(schema, loc, value)}"
    if kind == "value_error":
        text = str(context["error"])
        whole_block = isinstance(value, dict)  # which says less than the rule
        return text if whole_block or repr(value) in text else text + got
    return _TYPES.get(kind, detail["msg"]) + got


def _as_what(block: type[BaseModel], name: str) -> str:
    field = _fields(block).get(name)
    if field is None:
        return ""
    if isinstance(field.annotation, type):
        said = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
        return f": {said.get(field.annotation.__name__, 'a block')}"
    choices = _choices(field.annotation)
    return f": {' or '.join(map(repr, choices))}" if choices else ""


def _near_literal(schema: type[BaseModel], loc: tuple[int | str, ...], value: Any) -> str:
    names = [part for part in loc if isinstance(part, str)]
    field = _fields(_block_at(schema, tuple(names[:-1]))).get(names[-1]) if names else None
    return did_you_mean(str(value), [str(each) for each in _choices(field.annotation)]) if field else ""


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for inner in get_args(annotation) for choice in _choices(inner))


def _block_at(schema: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The block that a place lies in; list positions and free names of a mapping are stepped over."""
    for part in loc:
        field = _fields(schema).get(str(part))
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
