"""Which bricks there are and what their constructors take, read from source without importing it.

A brick is found by its file name in the package of its kind (``user_encoders/nrms.py`` is the user encoder
``nrms``) or by the dotted path of a class that lies elsewhere (``my_lab.encoders.Hyper``). Reading goes
through ``ast``, so a misspelt key is answered before torch is imported; ``load`` and ``construct`` import.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from legorec.registry.annotations import FieldType, Parameter
from legorec.registry.classes import inputs_of, joints_of, lineage, methods_of
from legorec.registry.kinds import KINDS, Kind
from legorec.registry.modules import SignatureError, Source, find_class, parse_source
from legorec.registry.signatures import parameters_of


class RegistryError(ValueError):
    """A brick that is not there, or whose constructor cannot be read."""


@dataclass(frozen=True)
class Brick:
    """One brick as its source tells it."""

    kind: str
    name: str
    module: str
    class_name: str
    file: Path
    parameters: tuple[Parameter, ...]
    inputs: Mapping[str, bool] = field(default_factory=dict)  # of its ``forward``: whether it is required
    methods: tuple[str, ...] = ()
    joints: Mapping[str, Any] = field(default_factory=dict)  # what it says that it gives, reads or takes
    docstring: str = ""

    @property
    def offered(self) -> tuple[str, ...]:
        """The parameters that the program fills in."""
        given = KINDS[self.kind].offered
        return tuple(each.name for each in self.parameters if each.name in given)

    @property
    def settable(self) -> tuple[Parameter, ...]:
        """The parameters that YAML may set."""
        return tuple(each for each in self.own if each.type is not None)

    @property
    def own(self) -> tuple[Parameter, ...]:
        """The parameters that the program does not fill in."""
        given = KINDS[self.kind].offered
        return tuple(each for each in self.parameters if each.name not in given)

    @property
    def is_of_the_package(self) -> bool:
        """Whether it lies in the folder of its kind, and not elsewhere."""
        return "." not in self.name


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` was probably meant to be, or None."""
    by_folded = {choice.lower().replace("-", "_"): choice for choice in choices}
    folded = str(name).lower().replace("-", "_")
    found = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if not found:  # `lr` for `item_lr`, `bert` for `bert-token`: too short for the ratio, plain to a reader
        found = [each for each in sorted(by_folded) if len(folded) > 2 and (folded in each)][:1]
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where something is near, else nothing."""
    found = nearest(name, choices)
    return f"; did you mean {found!r}?" if found else ""


def names(kind: str) -> tuple[str, ...]:
    """The bricks of a kind that lie in the package, sorted."""
    return tuple(sorted(path.stem for path in _folder(kind).glob("*.py") if not path.stem.startswith("_")))


def find(kind: str, name: str) -> Brick:
    """The brick of that name, or at that dotted path.

    Raises:
        RegistryError: there is none, or its constructor is not flat and typed.
    """
    try:
        return _find(kind, name)
    except SignatureError as error:
        raise RegistryError(str(error)) from error


def load(brick: Brick) -> type:
    """Import the brick's class."""
    return getattr(importlib.import_module(brick.module), brick.class_name)


def construct(brick: Brick, arguments: Mapping[str, Any]) -> Any:
    """Import the class and call it; a nested block, plain until now, becomes its dataclass."""
    types = {each.name: each.type for each in brick.parameters}
    return load(brick)(**{key: _built(types.get(key), value) for key, value in arguments.items()})


def _built(read: FieldType | None, value: Any) -> Any:
    if read is None or read.form != "block" or not isinstance(value, Mapping):
        return value
    types = {each.name: each.type for each in read.block}
    block = getattr(importlib.import_module(read.block_module), read.block_name)
    return block(**{key: _built(types.get(key), inner) for key, inner in value.items()})


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise RegistryError(
            f"no kind of brick {kind!r}; there are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
        )
    return KINDS[kind]


def _folder(kind: str) -> Path:
    return Path(__file__).parents[1] / _kind(kind).folder


@cache
def _find(kind: str, name: str) -> Brick:
    if "." in name:
        module, _, class_name = name.rpartition(".")
        file = locate(module)
        if file is None:
            raise RegistryError(f"no module {module!r} on the Python path, wanted for {name!r}")
        source = parse_source(module, file)
    else:
        if name not in names(kind):
            raise RegistryError(
                f"no {kind} {name!r}; there are {', '.join(names(kind))}{did_you_mean(name, names(kind))}"
            )
        package = f"legorec.{_kind(kind).folder}"
        source = parse_source(f"{package}.{name}", _folder(kind) / f"{name}.py")
        class_name = _class_of(source, _kind(kind))
    owner, node = find_class(class_name, source, locate)
    if node is None:
        public = [each for each in source.classes if not each.startswith("_")]
        raise RegistryError(
            f"no class {class_name!r} in {source.file}; there are {', '.join(public) or 'none'}"
            f"{did_you_mean(class_name, public)}"
        )
    classes = lineage(node, owner, locate)
    return Brick(
        kind=_kind(kind).name,
        name=name,
        module=source.module,
        class_name=class_name,
        file=source.file,
        parameters=_judged(parameters_of(node, owner, locate), class_name),
        inputs=inputs_of(classes),
        methods=methods_of(classes),
        joints=joints_of(classes, owner),
        docstring=ast.get_docstring(node) or "",
    )


def _judged(parameters: tuple[Parameter, ...], class_name: str) -> tuple[Parameter, ...]:
    for each in parameters:
        if each.name == "name":
            raise RegistryError(
                f"{each.place} {class_name} has an argument `name`, which can never be set: in "
                "YAML the key `name` names the brick itself; call the argument otherwise"
            )
    return parameters


def _class_of(source: Source, kind: Kind) -> str:
    found = [each for each in source.classes if each.endswith(kind.suffix) and not each.startswith("_")]
    if len(found) != 1:
        raise RegistryError(
            f"{source.file} must hold one class whose name ends in {kind.suffix!r}, "
            f"found {', '.join(found) or 'none'}"
        )
    return found[0]


def locate(module: str) -> Path | None:
    """The file of a module, found part by part: ``importlib.util.find_spec`` would import the parents."""
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError, AttributeError):
        return None
    for length in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:length]), list(spec.submodule_search_locations))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)
