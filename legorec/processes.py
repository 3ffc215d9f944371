"""The processes of one run, started by ``torchrun`` or ``accelerate launch``, working as one.

Each holds the whole model and takes its share of every batch and page. A process that is alone does not
communicate: every method here returns at once, and ``torch.distributed`` is not even imported.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# A process that dies is noticed at once, by its closed connection. This is for one that hangs, and must be
# longer than the first process takes to write a large checkpoint while the others wait.
TIMEOUT = timedelta(minutes=30)

# Set by torchrun, and by mpirun, which `accelerate launch --cpu --mpirun_hostfile` calls.
_RANK = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
_WORLD = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL_RANK = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK")


class PeerError(Exception):
    """Another process of the run failed or is gone. That one reports the cause; this one only has to end."""


@dataclass(frozen=True)
class Processes:
    """This process's place among those of its run.

    Every method that sends something is a meeting: all processes must call it, in the same order. Sums are
    the same, to the bit, in all of them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # its place on its own machine

    @classmethod
    def launched(cls) -> Processes:
        """The processes that the launcher named in the environment; one process without a launcher.

        Raises:
            ValueError: a part of what is needed is not set.
        """
        world = _number(_WORLD, 1)
        if world < 2:
            return cls()
        missing = [
            names[0] for names in (_RANK, _LOCAL_RANK) if not any(name in os.environ for name in names)
        ]
        missing += [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if missing:
            raise ValueError(
                f"the environment asks for {world} processes and does not set {', '.join(missing)}; start "
                f"them with `torchrun --nproc-per-node {world} worker.py ...`, or unset WORLD_SIZE"
            )
        return cls(_number(_RANK, 0), world, _number(_LOCAL_RANK, 0))

    @property
    def is_first(self) -> bool:
        """Whether this process writes, logs and prints."""
        return self.rank == 0

    @contextmanager
    def joined(self) -> Iterator[Processes]:
        """Connect with the others, and disconnect at the end.

        Raises:
            PeerError: another process did not connect.
        """
        if self.world == 1:
            yield self
            return
        import torch
        import torch.distributed as dist

        # Imported before the group of all processes exists. Later (an optimizer imports it) its functions
        # would keep the group as a default, with its threads, to the interpreter's end, which may then abort.
        import torch.distributed.nn.functional

        cuda = torch.cuda.is_available() and dist.is_nccl_available()
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                timeout=TIMEOUT,
                rank=self.rank,
                world_size=self.world,
            )
        except RuntimeError as error:
            raise PeerError(f"the processes of this run did not find each other: {_reason(error)}") from error
        try:
            yield self
        finally:
            dist.destroy_process_group()

    def share(self, count: int) -> slice:
        """This process's part of ``count`` rows: one stretch, empty if there are too few rows."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def turns(self, count: int) -> Iterator[tuple[range, int | None]]:
        """Deal out ``count`` pages: the pages of each turn, and this process's own page, if it has one."""
        for start in range(0, count, self.world):
            mine = start + self.rank
            yield range(start, min(start + self.world, count)), mine if mine < count else None

    def sum(self, number: float) -> float:
        """The sum of a number on the host; exact for counts."""
        if self.world == 1:
            return number
        import torch

        values = torch.tensor([number], dtype=torch.float64)
        self.add(values)
        return float(values)

    def max(self, number: int) -> int:
        """The maximum of a number on the host."""
        return number if self.world == 1 else max(self.collect(number))

    def add(self, values: Tensor) -> None:
        """Replace each value by its sum over all processes, in place, on its own device."""
        if self.world == 1:
            return
        import torch.distributed as dist

        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise PeerError(f"another process of this run has ended: {_reason(error)}") from error

    def merge(self, values: Tensor) -> None:
        """Complete a table, in place, where each row was written by one process and is zero in the others.

        The bytes are added: nothing is rounded, and the backend need not be able to add the dtype.
        """
        if self.world > 1 and values.numel():
            import torch

            self.add(values.view(torch.uint8))

    def collect(self, value: Any) -> list[Any]:
        """A small JSON value from every process, by rank."""
        if self.world == 1:
            return [value]
        import torch

        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.world, dtype=torch.int64)
        lengths[self.rank] = len(text)
        self.add(lengths)
        table = torch.zeros(self.world, int(lengths.max()), dtype=torch.uint8)
        table[self.rank, : len(text)] = text
        self.merge(table)
        return [
            json.loads(bytes(row[:length].tolist()))
            for row, length in zip(table, lengths.tolist(), strict=True)
        ]

    def from_first(self, value: Any) -> Any:
        """The first process's JSON value, so that all decide alike."""
        return value if self.world == 1 else self.collect(value if self.is_first else None)[0]

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """The block succeeds in all processes or fails in all; no meeting may be held inside.

        Raises:
            PeerError: it failed elsewhere. The first process in which it failed raises its own error.
        """
        if self.world == 1:
            yield
            return
        try:
            yield
        except Exception as error:
            if self.collect(True).index(True) == self.rank:
                raise
            raise PeerError("another process of this run failed likewise") from error
        if any(self.collect(False)):
            raise PeerError("another process of this run failed")

    def meet(self) -> None:
        """Wait until all processes are here, or one is gone."""
        with suppress(PeerError):
            self.collect(None)

    def give_way(self) -> None:
        """Let the process that reports an error end first: the launcher names that one and stops the rest."""
        if self.world > 1:
            time.sleep(2)

    def claim(self, what: str) -> bool:
        """True for the first process to call it: many may meet an error, one should report it. No meeting."""
        if self.world == 1:
            return True
        from torch.distributed import TCPStore

        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10))
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            return store.add(f"legorec/{attempt}/{what}", 1) == 1
        except RuntimeError:  # the process that keeps the list is gone; better reported twice than never
            return True


ALONE = Processes()


def launch_note() -> str | None:
    """The message for a launcher that was to start several processes and started one."""
    # Without mpirun, `accelerate launch --cpu` sets an address for more than one, and no number.
    alone = _number(_WORLD, 1) == 1 and "MASTER_PORT" in os.environ
    if not alone or os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        return None
    return (
        "accelerate launch --cpu has started one process (for more it needs --mpirun_hostfile); on the CPU "
        "take `torchrun --nproc-per-node N worker.py ...`, or `accelerate launch --multi_gpu "
        "--num_processes N worker.py ... --device cpu`"
    )


def _number(names: tuple[str, ...], default: int) -> int:
    text = next((os.environ[name] for name in names if os.environ.get(name)), str(default))
    if not text.isdecimal():
        raise ValueError(f"{names[0]} in the environment must be a number, got '{text}'")
    return int(text)


def _reason(error: Exception) -> str:
    """The message of gloo or nccl, without its place in the source and its advice."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[\S+:\d+\] ", "", line).partition(". ")[0]
