"""A card as `CudaOps` sees it, through torch: its stream, its graphs, and the host memory that it
can reach.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinychat.kernels import RecordedPlan, cards

if TYPE_CHECKING:
    from tinychat.kernels._cuda import Queue

CAPTURES = threading.Lock()  # torch captures one graph at a time


class CudaDevice:
    """See `cuda.Device`.

    Args:
        card: one that can be used (`cards.why_not`).
    """

    captures_torch = True

    def __init__(self, card: cards.Card) -> None:
        # Where it was not built, no card can be used.
        self.native = import_module("tinychat.kernels._cuda")
        self.torch_device = torch.device("cuda", card.index)
        self.name = f"cuda {cards.sm(card.arch)}"
        self.multiprocessors = card.multiprocessors
        self.takes_groups = cards.attention_kinds(card.index)[0] == "flash"
        self._card = card
        self._queues: dict[int, Queue] = {}
        # Graphs are captured there: the stream that torch takes by itself is of one card for ever.
        self._capturing = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]

    def queue(self) -> Queue:
        """That of torch's current stream: while a graph is captured, it is another one."""
        if torch.cuda.current_device() != self.torch_device.index:  # as in a thread that is new
            torch.cuda.set_device(self.torch_device)
        stream = torch.cuda.current_stream(self.torch_device).cuda_stream
        if stream not in self._queues:
            made = self.native.Queue(stream, self._card.arch, self._card.programmatic)
            self._queues[stream] = made
        return self._queues[stream]

    def settle(self) -> None:
        """Nothing: torch launches into the same stream."""

    def keep(self, tensor: Tensor) -> Tensor:
        """Nothing to do: a graph's memory is its own."""
        return tensor

    @contextmanager
    def record(self) -> Iterator[RecordedPlan]:
        graph = Graph()
        captured = torch.cuda.graph(
            graph.captured,
            stream=self._capturing,
            capture_error_mode="thread_local",  # other threads may use the card meanwhile
        )
        # Torch does not leave its own stream where a capture fails at its end.
        here = torch.cuda.stream(torch.cuda.current_stream(self.torch_device))
        with CAPTURES, torch.cuda.device(self.torch_device), here, collecting_nothing(), captured:
            yield graph

    def shared(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32, pin_memory=True)

    def mark(self) -> Callable[[], None]:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.torch_device))
        return event.synchronize

    def available_bytes(self) -> int | None:
        free, _ = torch.cuda.mem_get_info(self.torch_device)
        # What torch has taken from the driver and given to nobody is as good as free.
        return (
            free
            + torch.cuda.memory_reserved(self.torch_device)
            - torch.cuda.memory_allocated(self.torch_device)
        )


class Graph:
    """A captured graph as a `RecordedPlan`."""

    def __init__(self) -> None:
        self.captured = torch.cuda.CUDAGraph()

    def run(self) -> None:
        self.captured.replay()


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """What is collected may be another graph, whose end a capture would not survive."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
