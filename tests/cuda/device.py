"""`CudaOps` on a card made of fibers: the kernels as host C++, torch on the CPU between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cuda.emulated import SHUFFLED, Schedule
from tinychat.kernels.cpu import CpuOps
from tinychat.kernels.cuda import CudaOps

MULTIPROCESSORS = 3  # several blocks share the keys of a token, and a tiny grid is quick


class NotedLaunches:
    """A queue that notes what is launched instead, and runs it as often as it is asked to."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._queue = stream, stream.queue()
        self._launches: list[tuple[str, tuple[Any, ...]]] = []
        self.tensors: list[Tensor] = []  # what they write to

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            self._launches.append((name, arguments))

        return note

    def run(self) -> None:
        for name, arguments in self._launches:
            getattr(self._queue, name)(*arguments)
        self._stream.synchronize()


class EmulatedDevice:
    """See `tinychat.kernels.cuda.Device`.

    What is launched by itself has run when the op returns; what was recorded is run as the schedule
    has it, so that launches may overlap there, whose tensors all stay alive.
    """

    captures_torch = False  # torch is not what is noted

    def __init__(self, schedule: Schedule, takes_groups: bool = False) -> None:
        self.native = pytest.importorskip(
            "tinychat.kernels._cuda_emulated", reason="built by `make test`"
        )
        self._replayed = schedule.open(self.native)
        self._queue = replace(schedule, overlap=False).open(self.native).queue()
        self._notes: NotedLaunches | None = None
        self.torch_device = torch.device("cpu")
        self.name = f"cuda-emulated sm_{schedule.arch // 10}"
        self.multiprocessors, self.takes_groups = MULTIPROCESSORS, takes_groups

    def queue(self) -> Any:
        return self._queue if self._notes is None else self._notes

    def settle(self) -> None:
        assert self._notes is None, "torch would read what is only noted"

    @contextmanager
    def record(self) -> Iterator[NotedLaunches]:
        notes = self._notes = NotedLaunches(self._replayed)
        try:
            yield notes
        finally:
            self._notes = None

    def keep(self, tensor: Tensor) -> Tensor:
        if self._notes is not None:
            self._notes.tensors.append(tensor)
        return tensor

    def shared(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32)

    def mark(self) -> Callable[[], None]:
        return lambda: None

    def available_bytes(self) -> int | None:
        return None


def emulated_ops(schedule: Schedule = SHUFFLED, **settings: Any) -> CudaOps:
    """The caller closes them."""
    return CudaOps(EmulatedDevice(schedule), CpuOps(threads=2), **settings)
