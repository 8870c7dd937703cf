"""A card as `CudaOps` sees it, through torch: its stream, its graphs, and the host memory that it
can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tinychat.kernels import RecordedPlan, _cuda

# From here on a kernel may start before the one that it follows has ended.
PROGRAMMATIC_FROM = 900


class CudaDevice:
    """See `cuda.Device`.

    Args:
        index: the card's number, as torch and the driver count.
    """

    captures_torch = True
    native = _cuda

    def __init__(self, index: int) -> None:
        self.torch_device = torch.device("cuda", index)
        about = torch.cuda.get_device_properties(index)
        self._arch = 100 * about.major + 10 * about.minor
        self.name = f"cuda sm_{about.major}{about.minor}"
        self.multiprocessors = about.multi_processor_count
        self.takes_groups = _has_flash(self.torch_device)
        self._queues: dict[int, _cuda.Queue] = {}

    def queue(self) -> _cuda.Queue:
        """That of torch's current stream: while a graph is captured, it is another one."""
        stream = torch.cuda.current_stream(self.torch_device).cuda_stream
        if stream not in self._queues:
            overlaps = self._arch >= PROGRAMMATIC_FROM
            self._queues[stream] = _cuda.Queue(stream, self._arch, overlaps)
        return self._queues[stream]

    def settle(self) -> None:
        """Nothing: torch launches into the same stream."""

    def keep(self, tensor: Tensor) -> Tensor:
        """Nothing to do: a graph's memory is its own."""
        return tensor

    @contextmanager
    def record(self) -> Iterator[RecordedPlan]:
        graph = Graph()
        with torch.cuda.device(self.torch_device), torch.cuda.graph(graph.captured):
            yield graph

    def shared(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32, pin_memory=True)

    def mark(self) -> Callable[[], None]:
        event = torch.cuda.Event()
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


def _has_flash(device: torch.device) -> bool:
    """Whether torch's attention takes its flash kernel there, which knows grouped heads."""
    from torch.backends.cuda import SDPAParams, can_use_flash_attention

    q, kv = (torch.empty(1, heads, 16, 64, dtype=torch.float16, device=device) for heads in (2, 1))
    return bool(can_use_flash_attention(SDPAParams(q, kv, kv, None, 0.0, True, True)))
