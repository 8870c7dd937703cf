"""Types of the CUDA kernels as host C++ (csrc/cuda/emulation/module.cpp), built for tests alone."""

from typing import ClassVar

from tinychat.kernels._cuda_ops import *  # noqa: F403
from tinychat.kernels._cuda_ops import Ops

class Order:
    forward: ClassVar[Order]
    reverse: ClassVar[Order]
    shuffled: ClassVar[Order]

class Queue(Ops):
    """Launches on an emulated card."""

class Stream:
    """An emulated card; csrc/cuda/emulation/settings.h says what is chosen."""

    def __init__(
        self,
        *,
        arch: int = 900,
        order: Order = ...,
        seed: int = 0,
        late_copies: bool = True,
        coresident: bool = False,
        overlap: bool = False,
    ) -> None: ...
    def queue(self) -> Queue: ...
    def synchronize(self) -> None:
        """Run what is still to run; a KernelError tells of the first mistake."""
