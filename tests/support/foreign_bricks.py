"""Bricks from elsewhere, which are read and never run, and what messages list of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec import registry

LAB = '''
"""Bricks from elsewhere, which are read and not run."""
from typing import ClassVar

raise RuntimeError("imported")

class Clicks:
    gives: ClassVar[str] = "clicks"
    def __init__(self, input_dim: int): ...
    def forward(self, clicks_BHD, mask_BH, user, states): ...

class Interests:
    gives = "interests"
    def __init__(self, input_dim: int): ...
    def forward(self, clicks_BHD, mask_BH): ...

class Weighed(Interests):
    gives = "interests"
    def forward(self, clicks_BHD, mask_BH): ...
    def click_weights(self, clicks_BHD, mask_BH): ...

class Heir(Weighed): ...

class Computed:
    takes = ("vector",) + ("clicks",)
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD): ...

class OneName:
    takes = "interests"
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD): ...

class Module:
    def __init__(self): ...
    def forward(self, model, batch): ...

class Plain:
    def __init__(self, input_dim: int): ...
    def forward(self, clicks_BHD, mask_BH, power=2.0, *, user=None): ...

class Images:
    gives = "pixels"
    def __init__(self, num_items: int): ...
    def forward(self, items): ...

class Eyes:
    reads = ("pixels", "layers")
    def __init__(self, input_dim: int): ...
    def forward(self, states): ...

class Any:
    takes = ("vector", "interests", "clicks")
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD, mask, candidate_items): ...

class Weighing:
    takes: ClassVar[tuple[str, ...]] = ("interests",)
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD, click_weights): ...

class Greedy:
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD, weather, clicks, *, season, temperature=1.0): ...

class Weather:
    def __init__(self, input_dim: int): ...
    def forward(self, user, candidates_BKD, weather): ...

class Late:
    def __init__(self, input_dim: int): ...
    def forward(self, clicks_BHD, mask_BH, weather): ...

class Plugin:
    def __init__(self, input_dim: int): ...
    def forward(self, vectors, user, weather): ...

class GreedySource:
    def __init__(self, num_items: int): ...
    def forward(self, items, moment): ...

class Loss:
    def __init__(self, num_negatives: int = 4): ...
    def __call__(self, model, batch): ...
'''


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let them be found as ``fits_lab.Clicks`` and so on."""
    (folder / "fits_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(folder))


# What the classes themselves say, which have to be imported for it.
DEFAULTS = {"source": "tokens", "user_encoder": "vector"}
TAKERS = {
    "item_encoder": ("reads", ("tokens", "states")),
    "user_plugin": ("takes", ("vector", "interests")),
    "predictor": ("takes", ("vector",)),
}


def given_by(kind: str) -> dict[str, str]:
    """What each source or user encoder gives."""
    loaded = {name: registry.load(registry.find(kind, name)) for name in registry.names(kind)}
    return {name: getattr(brick, "gives", DEFAULTS[kind]) for name, brick in loaded.items()}


def taken_by(kind: str) -> dict[str, tuple[str, ...]]:
    """What each brick of a kind can be given."""
    word, default = TAKERS[kind]
    loaded = {name: registry.load(registry.find(kind, name)) for name in registry.names(kind)}
    return {name: getattr(brick, word, default) for name, brick in loaded.items()}


def fitting(kind: str, *values: str) -> str:
    """The bricks of a kind that go with one of these, as messages list them."""
    if kind in DEFAULTS:
        found = [name for name, value in given_by(kind).items() if value in values]
    else:
        found = [name for name, taken in taken_by(kind).items() if set(taken) & set(values)]
    assert found
    return ", ".join(found)


def filled(message: str) -> str:
    """The message with its lists of bricks, found in the classes themselves."""
    parts = message.split("{")
    for place, part in enumerate(parts[1:], start=1):
        listed, _, rest = part.partition("}")
        parts[place] = fitting(*listed.split()) + rest
    return "".join(parts)
