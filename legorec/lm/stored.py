"""Where a checkpoint holds the weights of its base model, and under which names."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from legorec.lm.checkpoint_files import PretrainedError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Place = tuple[Path, str]


class StoredWeights:
    """The weights in some safetensors files, by their names in the base model.

    Most are stored as they are, perhaps with the prefix of the model with a head. Others are put together as
    transformers does: experts are stored one by one and computed as one tensor.

    Args:
        model: the base model, without weights.

    Raises:
        PretrainedError: a file cannot be read.
    """

    def __init__(self, files: list[Path], model: PreTrainedModel) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping

        self.places: dict[str, Place] = {}
        self._model = model
        # Name -> what joins the parts, and pattern -> the parts.
        self._joined: dict[str, tuple[Any, dict[str, list[Place]]]] = {}
        transforms = get_model_conversion_mapping(model)
        names, prefix = model.state_dict().keys(), f"{model.base_model_prefix}."
        for file, key in _keys(files):
            name, converter, pattern = _renamed(key, transforms)
            name, given = (each if each in names else each.removeprefix(prefix) for each in (name, key))
            if name not in names and given in names:  # it is named as here, whatever a rule says of it
                name, converter = given, None
            if converter is None:
                self.places[name] = (file, key)
                continue
            first, *others = (each.replace("$", "") for each in converter.target_patterns)
            for each in (name, *(name.replace(first, other) for other in others)):
                parts = self._joined.setdefault(each, (converter, defaultdict(list)))[1]
                parts[pattern].append((file, key))

    def __contains__(self, name: str) -> bool:
        return name in self.places or name in self._joined

    def read(self, name: str, opened: dict[Path, Any]) -> Tensor:
        """One weight; ``opened`` keeps the files that were opened for it."""

        def tensor(place: Place) -> Tensor:
            file, key = place
            if file not in opened:
                opened[file] = safe_open(file, framework="pt")
            found: Tensor = opened[file].get_tensor(key)
            return found

        if name in self.places:
            return tensor(self.places[name])
        converter, parts = self._joined[name]
        joining = deepcopy(converter)
        for pattern, places in parts.items():
            for place in sorted(places, key=lambda place: _in_order(place[1])):
                joining.add_tensor(name, place[1], pattern, tensor(place))
        whole: dict[str, Tensor] = joining.convert(name, model=self._model, config=self._model.config)
        return whole[name]


def _keys(files: list[Path]) -> list[Place]:
    found = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                found += [(file, key) for key in opened.keys()]  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise PretrainedError(f"{file} cannot be read: {error}") from error
    return found


def _renamed(key: str, transforms: list[Any]) -> tuple[str, Any, str]:
    """The name in the model, and if the weight is part of another, what joins them and by which pattern."""
    from transformers.core_model_loading import WeightConverter

    for each in transforms:
        if not isinstance(each, WeightConverter):
            key = each.rename_source_key(key)[0]
    for each in transforms:
        if isinstance(each, WeightConverter):
            key, pattern = each.rename_source_key(key)
            if pattern is not None:
                return key, each, pattern
    return key, None, ""


def _in_order(key: str) -> list[tuple[int, str]]:
    """Numbers by their size: expert 10 comes after expert 2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in key.split(".")]
