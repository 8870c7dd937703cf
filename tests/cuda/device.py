"""`CudaOps` on a card made of fibers: the kernels as host C++, torch on the CPU between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import Schedule
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.cuda import CudaOps

MULTIPROCESSORS = 3  # several blocks share the keys of a token, and a tiny grid is quick


class NotedLaunches:
    """A queue that notes what is launched instead, and runs it as often as it is asked to."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._launches: list[tuple[str, tuple[Any, ...]]] = []
        self.tensors: list[Tensor] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            self._launches.append((name, arguments))

        return note

    def run(self) -> None:
        for name, arguments in self._launches:
            getattr(self._queue, name)(*arguments)


class EmulatedDevice:
    """See `tinychat.kernels.cuda.Device`."""

    captures_torch = False  # torch is not what is noted

    def __init__(self, schedule: Schedule, takes_groups: bool = False) -> None:
        self.native = pytest.importorskip(
            "tinychat.kernels._cuda_emulated", reason="built by `make test`"
        )
        self._stream = self.native.Stream(
            arch=schedule.arch,
            order=getattr(self.native.Order, schedule.order),
            seed=schedule.seed,
            late_copies=schedule.late_copies,
            coresident=schedule.coresident,
            overlap=schedule.overlap,
        )
        self._queue = self._stream.queue()
        self._notes: NotedLaunches | None = None
        self._in_use: list[Tensor] = []  # by launches that have not run yet
        self.torch_device = torch.device("cpu")
        self.name = f"cuda-emulated sm_{schedule.arch // 10}"
        self.multiprocessors, self.takes_groups = MULTIPROCESSORS, takes_groups

    def queue(self) -> Any:
        return self._queue if self._notes is None else self._notes

    def settle(self) -> None:
        assert self._notes is None, "torch would read what is only noted"
        self._stream.synchronize()
        self._in_use.clear()

    @contextmanager
    def record(self) -> Iterator[NotedLaunches]:
        notes = self._notes = NotedLaunches(self._queue)
        try:
            yield notes
        finally:
            self._notes = None

    def keep(self, tensor: Tensor) -> Tensor:
        (self._in_use if self._notes is None else self._notes.tensors).append(tensor)
        return tensor

    def shared(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32)

    def mark(self) -> Callable[[], None]:
        return self.settle

    def available_bytes(self) -> int | None:
        return None


SHUFFLED = Schedule(order="shuffled")


def emulated_ops(schedule: Schedule = SHUFFLED, **settings: Any) -> CudaOps:
    """The caller closes them."""
    return CudaOps(EmulatedDevice(schedule), CpuOps(threads=2), **settings)
