"""What dropout draws in a training step: a pure function of the seed, the step, the layer and the row.

A row of values belongs to an item, whose key is its row of the catalogue, or to an example, whose key is its
place in the step. Neither depends on how a step is cut into batches, pages and shares of processes, so all of
them train the same model; and a page that is computed again in the backward pass draws the same without any
saved state, on any device.

    with drawing(seed, step):                       the training loop, around the forward pass
        with belonging(entry("items"), items):      whoever knows the keys of the rows, around a brick
            drawn(values.shape, 0.1, ...)           a layer

A layer is known by how many others have drawn before it since ``belonging`` was entered. So a brick must not
skip a layer for some of its input, such as rows that are all empty.

A step draws one pool of random bits. A row of values takes a stretch of it that begins at one of ``PLACES``
places, which is a hash of its key, its place in the row and the layer: one gather, a seventh of the time of
new random bits for every value. Two rows have overlapping stretches once in thousands, and others each step.
Only integers are computed, alike on all devices, and none is waited for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from legorec.nn.segments import Segments
from legorec.nn.sending import sent

PLACES = 1 << 16
RANKS = 1 << 16  # of 16 random bits

# Constants of splitmix64 (Steele et al., 2014), as signed numbers.
_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
_WORD = 1 << 64


def _signed(number: int) -> int:
    number %= _WORD
    return number - _WORD if number >= _WORD >> 1 else number


def _hash(*parts: int) -> int:
    """One number of 64 bits from several."""
    state = 0
    for part in parts:
        state = (state + part + _STEP) % _WORD
        state = (state ^ (state >> 30)) * _FIRST % _WORD
        state = (state ^ (state >> 27)) * _SECOND % _WORD
        state ^= state >> 31
    return _signed(state)


def _mixed(keys: Tensor) -> Tensor:
    """The same for each number of an int64 tensor, whose shifts fill with the sign."""
    keys = (keys ^ ((keys >> 30) & 0x3FFFFFFFF)) * _FIRST
    keys = (keys ^ ((keys >> 27) & 0x1FFFFFFFFF)) * _SECOND
    return keys ^ ((keys >> 31) & 0x1FFFFFFFF)


@dataclass
class _Step:
    """One forward pass of one batch in a step."""

    key: int
    first: int  # the place of the batch's first example in the step
    entered: dict[str, int] = field(default_factory=dict)
    pools: dict[tuple[torch.device, torch.dtype, float, int], Tensor] = field(default_factory=dict)

    def pool(self, values: Tensor, rate: float) -> Tensor:
        """(PLACES, width) scales of rows of values, views of one array: 0 for a share ``rate``."""
        width = values.shape[-1]
        length = PLACES + max(1024, 1 << max(0, width - 1).bit_length())
        found = self.pools.get(key := (values.device, values.dtype, rate, length))
        if found is None:
            counter = torch.arange(length // 4, device=values.device)
            ranks = _mixed(counter * _STEP + self.key).view(torch.int16).float()
            kept = max(1, round((1.0 - rate) * RANKS))
            # Ranks are integers from -32768: the difference is at least 1 where a value is kept, else at
            # most 0. The rate is rounded to a multiple of 2^-16, and the scale is that of the rounded rate.
            found = ranks.neg_().add_(kept - RANKS // 2).clamp_(0.0, 1.0).mul_(RANKS / kept).to(values.dtype)
            self.pools[key] = found
        return found.as_strided((PLACES, width), (1, 1))


@dataclass(frozen=True)
class Entry:
    """A place in a forward pass at which keys of rows are made known, see ``belonging``."""

    step: _Step
    key: int


@dataclass
class _Rows:
    """The rows that the layers see now, and how many layers have drawn for them."""

    step: _Step
    key: int
    keys_U: Tensor
    calls: int = 0
    found: dict[tuple[int, tuple[int, ...]], tuple[Segments | None, Tensor]] = field(default_factory=dict)

    def call(self) -> int:
        self.calls += 1
        return _hash(self.key, self.calls)

    def hashes(self, shape: Sequence[int], rows: Segments | None, device: torch.device) -> Tensor:
        """A hash for each vector of values, from the key of its row and its place in there."""
        inner = tuple(shape[1:-1])
        if (id(rows), inner) not in self.found:
            (keys_U,) = sent(device, self.keys_U)
            base = _mixed(keys_U * _STEP + self.key)
            if rows is not None:
                starts = base - rows.offsets(device)[:-1] * _STEP
                places = torch.arange(rows.total, device=device) * _STEP
                base = _mixed(starts.index_select(0, rows.rows(device)) + places)
            for size in inner:
                base = _mixed(base.unsqueeze(-1) + torch.arange(size, device=device) * _STEP)
            self.found[id(rows), inner] = rows, base
        return self.found[id(rows), inner][1]


_now: ContextVar[_Step | _Rows | None] = ContextVar("legorec_drawing", default=None)


@contextmanager
def _set(now: _Step | _Rows | None) -> Iterator[None]:
    token = _now.set(now)
    try:
        yield
    finally:
        _now.reset(token)


def drawing(seed: int, step: int, first: int = 0) -> AbstractContextManager[None]:
    """Within it dropout is a function of what it belongs to; without it layers draw from torch's generator.

    Args:
        step: the optimizer step, however many batches and processes it has.
        first: the place of this batch's first example among those of the step.
    """
    return _set(_Step(_hash(seed, step), first))


def undrawn() -> AbstractContextManager[None]:
    """Within it layers draw from torch's generator, as outside of ``drawing``."""
    return _set(None)


def entry(name: str) -> Entry | None:
    """A new place in the forward pass; None outside of ``drawing``.

    Args:
        name: what the rows are. Another entry of the same name draws anew.
    """
    now = _now.get()
    if isinstance(now, _Step):
        times = now.entered[name] = now.entered.get(name, 0) + 1
        return Entry(now, _hash(now.key, zlib.crc32(name.encode()), times))
    return None if now is None else Entry(now.step, now.call())


def belonging(at: Entry | None, keys_U: Tensor | None) -> AbstractContextManager[None]:
    """Within it the rows of values have these keys (U,); does nothing where one of the two is None.

    It may be entered again, in any thread and for other rows of the same place.
    """
    return nullcontext() if at is None or keys_U is None else _set(_Rows(at.step, at.key, keys_U))


def examples(at: Entry | None, count: int) -> AbstractContextManager[None]:
    """``belonging`` for the examples of the batch."""
    return nullcontext() if at is None else belonging(at, torch.arange(at.step.first, at.step.first + count))


def stretches() -> Callable[[int], AbstractContextManager[None]]:
    """For a forward pass over one stretch of the batch's examples after the other.

    Within each of the contexts the examples of the stretch draw as they would in a pass over the whole batch,
    in any order and also when they are computed again.

    Returns: the place of a stretch's first example in the batch -> its context.
    """
    now = _now.get()
    if not isinstance(now, _Step):
        return lambda first: nullcontext()
    before = dict(now.entered)

    @contextmanager
    def at(first: int) -> Iterator[None]:
        step = replace(now, first=now.first + first, entered=dict(before))
        with _set(step):
            yield
        now.entered.update(
            {name: max(times, now.entered.get(name, 0)) for name, times in step.entered.items()}
        )

    return at


def keys_now() -> Tensor | None:
    """(U,) the keys of the rows, None where none are known."""
    now = _now.get()
    return now.keys_U if isinstance(now, _Rows) else None


def resumed() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For ``torch.utils.checkpoint(context_fn=)``: what is computed again draws what it drew at first."""
    now = _now.get()
    if not isinstance(now, _Rows):
        return nullcontext(), nullcontext()
    return nullcontext(), _set(_Rows(now.step, now.key, now.keys_U, now.calls, now.found))


def scales(values: Tensor, rate: float, rows: Segments | None = None) -> Tensor | None:
    """What to multiply values by, so that a share ``rate`` is zero and the rest is scaled up.

    Args:
        values: (U, ..., D) a block for each row, or, with ``rows``, the rows packed (T, ..., D). A scale
            depends on the places of its value in these, and not on their sizes.
    Returns: None where the keys of these rows are not known.
    """
    now = _now.get()
    if not isinstance(now, _Rows):
        return None
    layer = now.call()
    units, size = (len(values), len(values)) if rows is None else (rows.num_rows, rows.total)
    if values.dim() < 2 or size != len(values):
        return None
    if units != len(now.keys_U):  # not of these rows, such as position embeddings: by place alone
        now, rows = _Rows(now.step, now.key, torch.arange(len(values))), None
    hashes = now.hashes(values.shape, rows, values.device)
    starts = ((hashes * (layer | 1)) >> 48) & (PLACES - 1)
    return now.step.pool(values, rate).index_select(0, starts.flatten()).view(values.shape)
