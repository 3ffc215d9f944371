"""A stand-in for a GPU on a CPU-only torch: a device of its own, with real numbers and a GPU's rules.

Tensors on it are wrappers around host tensors that nobody else sees. While a :class:`StandIn` is entered,

* an operation that mixes it with the host raises, as CUDA does;
* what would make the host wait is noted with its line: values that are read, sizes that depend on values,
  copies back, copies from memory that is not pinned, or that are not asked to be asynchronous;
* it has a generator of its own, and bf16 autocast through registered kernels (``stand_in_kernels``).

It rests on torch's backends in Python, which are experimental: tests skip where ``available()`` is False.
What it cannot show: kernels, cuDNN, TF32, streams, NCCL and speed.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from tests.support import stand_in_kernels
from tests.support.stand_in_module import ENTERED, Module

NAME = "standin"
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
COPIES = ("_to_copy", "to", "copy_")  # "to" as inference mode has it
RANDOM = ("native_dropout", "bernoulli", "bernoulli_", "uniform_", "normal_", "random_", "rand", "rand_like")
ROOT = __file__.rpartition("/tests/")[0]


def available() -> bool:
    """Whether this torch can have backends in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


class Mixture(RuntimeError):
    """An operation on tensors of the host and of the device."""


class Held(torch.Tensor):
    """A tensor on the device; ``_host`` holds its numbers."""

    _host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Held:
        held = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(NAME, 0),
        )
        held._host = host
        return held

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Held({self._host})"

    def tolist(self) -> Any:
        ENTERED[-1].note("tolist reads values")
        return self._host.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not ENTERED:
            raise RuntimeError(f"{func} on the stand-in, which nobody has entered")
        return ENTERED[-1].run(func, args, kwargs or {})


def install() -> None:
    """Give the device its name; once per process, it cannot be undone."""
    if hasattr(torch, NAME):
        return

    class Hook(backend_registration._DummyPrivateUse1Hook):
        def is_available(self) -> bool:  # else it would be this process's accelerator for other tests too
            return bool(ENTERED)

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module, hook=Hook())
    stand_in_kernels.register_autocast(NAME)


class StandIn(TorchDispatchMode):
    """The device while it is entered.

    ``waits`` counts what would make the host wait, by what and where; ``copies`` those to the device, by
    where.
    """

    def __init__(self) -> None:
        install()
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.queued = 0  # operations on the device
        self.emptied = 0  # calls of empty_cache
        self.chosen: list[int | None] = []  # set_device
        self._pinned: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __enter__(self) -> StandIn:
        assert not ENTERED
        ENTERED.append(self)
        self._patched = stand_in_kernels.patched(NAME, self.pinned)
        self._patched.__enter__()
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self._patched.__exit__(*exc)
        ENTERED.clear()

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, 0)

    def note(self, what: str) -> None:
        """Count a wait."""
        self.waits[f"{what} at {_place()}"] += 1

    def pinned(self, host: Tensor) -> Tensor:
        """Mark a host tensor's memory as pinned."""
        storage = host.untyped_storage()
        host._pinned_by = storage  # type: ignore[attr-defined]
        self._pinned[storage.data_ptr()] = storage
        return host

    def is_pinned(self, host: Tensor) -> bool:
        return not host.numel() or host.untyped_storage().data_ptr() in self._pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten._pin_memory:
            return self.pinned(args[0].clone())
        if func.overloadpacket is torch.ops.aten.is_pinned:
            return self.is_pinned(args[0])
        concerned = any(
            type(each) is Held or (type(each) is torch.device and each.type == NAME)
            for each in _leaves(args, kwargs)
        )
        return self.run(func, args, kwargs) if concerned else func(*args, **kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """One operation that has to do with the device."""
        name, aliasing = _facts(func)
        leaves = list(_leaves(args, kwargs))
        wanted = next((each for each in leaves if type(each) is torch.device), None)
        there = any(type(each) is Held for each in leaves)
        self.queued += 1
        if there:
            self._hold_to_the_rules(func, name, leaves, kwargs)
        if name in COPIES:
            self._note_copy(name, args, kwargs, wanted)
        bare_args = [_bare(each) for each in args]
        bare_kwargs = {key: _bare(each) for key, each in kwargs.items() if key != "pin_memory"}
        with torch.inference_mode(False), torch.no_grad(), self._drawing(name):
            found = stand_in_kernels.OWN.get(name, func)(*bare_args, **bare_kwargs)
            to_device = there if wanted is None else wanted.type == NAME
            if name in ("_to_copy", "to"):
                if name == "to" and to_device == there and found is bare_args[0]:
                    return args[0]
                # Never memory of the other side, which may change later.
                found = found.clone() if found.data_ptr() == bare_args[0].data_ptr() else found
                return Held(found) if to_device else found
            if to_device:
                found = _held(found)
            return return_and_correct_aliasing(func, args, kwargs, found) if aliasing else found

    def _hold_to_the_rules(self, func: Any, name: str, leaves: list[Any], kwargs: Any) -> None:
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        if any(each.dim() and not isinstance(each, Held) for each in tensors):
            if name in INDEXED:
                self.note(f"{name} by an index of the host")  # which CUDA moves
            elif name not in COPIES:
                raise Mixture(f"aten::{name} mixes the device and the host at {_place()}")
        tags = set(func.tags)
        by_mask = any(each.dtype in (torch.bool, torch.uint8) for each in tensors[1:])
        if name in INDEXED:
            if by_mask:
                self.note(f"{name} by a mask")
        elif torch.Tag.data_dependent_output in tags:
            self.note(f"{name} reads a value")
        elif torch.Tag.dynamic_output_shape in tags and kwargs.get("output_size") is None:
            self.note(f"{name} has a size that depends on values")

    def _note_copy(self, name: str, args: Any, kwargs: Any, wanted: torch.device | None) -> None:
        source = args[1] if name == "copy_" else args[0]
        from_device = isinstance(source, Held)
        target = isinstance(args[0], Held) if name == "copy_" else from_device
        to_device = target if wanted is None or name == "copy_" else wanted.type == NAME
        asynchronous = bool(kwargs.get("non_blocking")) or (name == "copy_" and len(args) > 2 and args[2])
        if to_device and not from_device:
            self.copies[_place()] += 1
            if not asynchronous:
                self.note("a blocking copy to the device")
            elif not self.is_pinned(source) and source.numel():
                self.note("a copy to the device from memory that is not pinned")
        elif from_device and not to_device:
            into_pinned = name == "copy_" and self.is_pinned(args[0])
            if not (asynchronous and into_pinned):
                self.note("a copy to the host")

    @contextmanager
    def _drawing(self, name: str) -> Iterator[None]:
        """Random numbers of the device come from its own generator."""
        if name not in RANDOM:
            yield
            return
        before = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.get_rng_state())
            torch.set_rng_state(before)


@cache
def _facts(func: Any) -> tuple[str, bool]:
    """An operation's name, and whether it gives a view or changes what it is given."""
    schema = func._schema
    aliasing = any(each.alias_info is not None for each in (*schema.arguments, *schema.returns))
    return schema.name.removeprefix("aten::"), aliasing


def _leaves(args: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
    """The arguments, those inside of lists too; torch's own way takes most of an operation's time."""
    for each in (*args, *kwargs.values()):
        if isinstance(each, list | tuple):
            yield from each
        else:
            yield each


def _bare(each: Any) -> Any:
    """What the host computes with in place of an argument."""
    if type(each) is Held:
        return each._host
    if type(each) is torch.device:
        return torch.device("cpu")
    return [_bare(part) for part in each] if isinstance(each, list | tuple) else each


def _held(found: Any) -> Any:
    """A result on the device."""
    if isinstance(found, Tensor):
        return Held(found)
    return type(found)(_held(each) for each in found) if isinstance(found, list | tuple) else found


def _place() -> str:
    """The innermost line of the library, or of a test, that the operation comes from."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT}/") and "/support/stand_in" not in file and "/.venv/" not in file:
            return f"{file.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "torch"
