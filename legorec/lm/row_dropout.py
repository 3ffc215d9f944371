"""Dropout inside a language model of transformers, drawn for each row by what the row belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from legorec.lm.attention import plain_attention
from legorec.nn.drawing import keys_now, resumed
from legorec.nn.dropout import dropped


class RowDropout(TorchFunctionMode):
    """Takes the place of torch's functions that drop values, which models call in their own code.

    Modules can be replaced, functions cannot. Attention that would drop weights inside of a kernel is
    computed as plain products.

    Args:
        num_rows: of the batch, whose values are (num_rows, L, ...) or (num_rows * L, ...).
    """

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.num_rows = num_rows

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and _rate(*args, **kwargs):
            return plain_attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training:
            return values
        if values.dim() == 2 and len(values) > self.num_rows:
            return dropped(values.unflatten(0, (self.num_rows, -1)), p).flatten(0, 1)
        return dropped(values, p)


def _rate(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout_p: float = 0.0, **rest: Any
) -> float:
    return dropout_p


def row_dropout(num_rows: int, training: bool) -> AbstractContextManager[Any]:
    """``RowDropout`` where rows have keys, in training; else nothing."""
    return RowDropout(num_rows) if training and keys_now() is not None else nullcontext()


def computed_again() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """For gradient checkpointing inside of the model: a layer draws the same when it is computed again."""
    keys, (first, again) = keys_now(), resumed()
    return first, again if keys is None else _inside(again, RowDropout(len(keys)))


@contextmanager
def _inside(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield
