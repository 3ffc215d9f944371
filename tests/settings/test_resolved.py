"""Settings that came later change no digest at their default, wherever they stand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legorec.compose import to_yaml
from legorec.settings import Settings, read_command_line
from legorec.settings.exp_layer import CacheSettings, SliceSettings
from legorec.settings.prompted import SegmentSettings
from legorec.settings.resolved import LATER, leave_out
from tests.support.runs import arguments

OTHERS: dict[str, Any] = {"data.filters": [{"min_history": 1}], "model.family": "other"}


class Earlier(Settings):
    """Settings that do not know of something."""

    def __init__(self, tree: dict[str, Any]) -> None:
        object.__setattr__(self, "tree", tree)
        object.__setattr__(self, "written", {})
        object.__setattr__(self, "earlier", {})

    def dump(self) -> dict[str, Any]:
        return copy.deepcopy(self.tree)


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """Settings with every block in which something came later."""
    np.save(tmp_path / "t.npy", np.zeros((2, 2)))
    flags = {
        "lr": 1e-3,  # a model's own suggestion is no default
        "model": "lego_naml",
        "model__item_encoder__rectified": True,
        "data__user_fields": "{gender: {}}",
        "model__user_plugin": "{name: profile}",
        "embed__tables": f"[{{vocabulary: words, path: {tmp_path}/t.npy}}]",
    }
    found = read_command_line(arguments(tmp_path, tmp_path, **flags)).dump()
    found["exp"]["cache"] = CacheSettings(layers=[-1]).model_dump()
    segments = [SegmentSettings(name="cue", text=":").model_dump()]
    found["model"]["prompt"] = {"segments": segments, "chat": False}  # of another family
    found["model"]["language_model"] = {"bits": None, "shard": False}  # of it, too
    return found


@pytest.mark.parametrize("place", LATER)
def test_the_digest_is_that_of_before(tree: dict[str, Any], place: str) -> None:
    path, default = place.split("."), LATER[place]
    if "exp.evaluation.slices." in place:
        tree["exp"]["evaluation"]["slices"] = SliceSettings().model_dump()
    if "model.parts." in place:
        tree["model"]["parts"] = {"text": {"least_clicks": 0, "item_encoder": {"centred": False}}}
    if place == "model.item_encoder.centred":  # of a language model
        tree["model"]["item_encoder"] = {"name": "bert", "centred": False}
    before, changed, digest = copy.deepcopy(tree), copy.deepcopy(tree), Earlier(tree).digest()
    leave_out(before, path, default)
    assert before != tree, "the settings at hand have the default"
    assert Earlier(before).digest() == digest
    for block in blocks(changed, path[:-1]):
        block[path[-1]] = OTHERS.get(place, "something else")
    assert Earlier(changed).digest() != digest


def blocks(tree: Any, path: list[str]) -> list[dict[str, Any]]:
    """The blocks at a path; ``*`` stands for each of a mapping or a list."""
    if not path:
        return [tree]
    key, *rest = path
    inner = [tree[key]] if key != "*" else list(tree.values()) if isinstance(tree, dict) else tree
    return [block for each in inner for block in blocks(each, rest)]


def test_a_run_saved_before_an_argument_came_keeps_its_meaning(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    now = read_command_line(arguments(tmp_path, tmp_path, "lego_naml"))
    assert now.model.item_encoder.arguments["rectified"] is False
    tree = now.dump()

    def read(*more: str) -> Settings:
        file.write_text(to_yaml(tree))
        return read_command_line(["--settings", str(file), *more])

    assert read() == read("--model.item_encoder.rectified", "false")
    assert read().model.item_encoder.arguments["rectified"] is False
    del tree["model"]["item_encoder"]["rectified"]
    before = read()
    assert before.model.item_encoder.arguments["rectified"] is True
    assert before.digest() == Earlier(tree).digest() != now.digest()
    assert read("--model.item_encoder.rectified", "false").model.item_encoder.arguments["rectified"] is False
    assert read("--model.item_encoder", "{name: naml}").model.item_encoder.arguments["rectified"] is False
