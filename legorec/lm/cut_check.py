"""Whether a model may be cut whose type has no row in ``legorec.lm.model_types``: lower then upper half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from legorec.lm.drawn import draw_weights
from legorec.lm.layout import layout_of, row_of, run
from legorec.lm.model_types import Family

TOLERANCE = 1e-4  # in float32, in units of the largest value where that is above one
LENGTHS = (7, 4)  # of the row that leads to padding, and of the probe


class Checkpoint(Protocol):
    """What is asked of a ``Pretrained``."""

    name: str
    config: Any
    checked: set[int]

    @property
    def width(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def family(self) -> Family: ...

    def skeleton(self) -> Any: ...


class _Drawn:
    """A checkpoint with drawn weights in place of its own."""

    tried = False

    def __init__(self, pretrained: Checkpoint) -> None:
        self._pretrained = pretrained

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pretrained, name)

    def fill(self, model: nn.Module, dtype: torch.dtype) -> None:
        draw_weights(model, self._pretrained.width)


def layout_unnamed(pretrained: Checkpoint) -> Family:
    """The layout of a checkpoint whose type has no row, from one pass with drawn weights.

    Raises:
        ValueError: it has none that could be cut.
    """
    with torch.device("cpu"):
        try:
            return layout_of(_whole(pretrained))
        except Exception as error:
            raise ValueError(f"{_start(pretrained)}, and {_reason(error)}; {_WAY_OUT}") from error


def check_cut(
    pretrained: Checkpoint,
    depths: Sequence[int],
    lower: Callable[[Any, Sequence[int]], Any],
    upper: Callable[[Any, int], Any],
) -> None:
    """Run a probe through the whole model and through both halves at some depths, with drawn weights.

    The probe is one short row, alone in the whole model and padded beside a longer one in the halves: two
    passes over all layers, and the memory of their largest matrix in float32. The checkpoint's weights are
    not read.

    Args:
        lower: ``LowerLayers``.
        upper: ``UpperLayers``.

    Raises:
        ValueError: the halves are not the whole, or cannot be run.
    """
    family = pretrained.family
    with torch.device("cpu"), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        size = pretrained.vocab_size
        ids_T = torch.randint(size // 4, size, (sum(LENGTHS),), generator=generator)
        lengths = torch.tensor(LENGTHS)
        probe_T = ids_T[LENGTHS[0] :]
        wanted = run(_whole(pretrained), input_ids=probe_T[None])[0]
        drawn = _Drawn(pretrained)
        for depth in depths:
            try:
                states = lower(drawn, [depth])(ids_T, lengths)[depth]
                apart = _difference(upper(drawn, depth).eval()(states, lengths)[LENGTHS[0] :], wanted)
            except Exception as error:
                found = f"at depth {depth} its halves cannot be run ({_reason(error)})"
                raise ValueError(_refusal(pretrained, family, found)) from error
            if not apart <= TOLERANCE:
                found = f"at depth {depth} its lower and upper half are {apart:.2g} away from the whole"
                raise ValueError(_refusal(pretrained, family, found))


_WAY_OUT = (
    "docs/add-a-brick.md says how to give it a row in legorec/lm/model_types.py, or a source of its own; "
    "docs/language-models.md has the types that are known"
)


def _start(pretrained: Checkpoint) -> str:
    return f"{pretrained.name} is a model of type '{pretrained.config.model_type}', whose cut is not known"


def _refusal(pretrained: Checkpoint, family: Family, found: str) -> str:
    return f"{_start(pretrained)}: taken as {row_of(family)}, {found}; {_WAY_OUT}"


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _whole(pretrained: Checkpoint) -> Any:
    model = pretrained.skeleton()
    draw_weights(model, pretrained.width)
    return model.eval()


def _difference(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return torch.inf
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
