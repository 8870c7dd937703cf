"""Types of the CUDA kernels on a card (csrc/cuda/module.cpp), and of what cards there are."""

from tinychat.kernels._cuda_ops import *  # noqa: F403
from tinychat.kernels._cuda_ops import Ops

class Queue(Ops):
    """Launches on a CUDA stream, for kernels of this architecture (750, 800, ...)."""

    def __init__(self, stream: int, arch: int, programmatic: bool) -> None: ...

class Card:
    """What the driver says of a card."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def arch(self) -> int:
        """750, 800, ..."""
    @property
    def multiprocessors(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def l2_bytes(self) -> int: ...
    @property
    def shared_bytes(self) -> int:
        """The most that a block may ask for."""
    @property
    def memory_khz(self) -> int:
        """The memory's clock; 0 where the driver does not say."""
    @property
    def bus_bits(self) -> int:
        """The width of its bus; 0 where the driver does not say."""
    @property
    def integrated(self) -> bool:
        """Its memory is the machine's own."""

def cards() -> list[Card]:
    """The cards; none where there is no driver, or one that is too old."""

def why_not() -> str:
    """Why the driver shows no card, in CUDA's words; "" where it does."""

def driver_version() -> tuple[int, int]:
    """The newest CUDA that the driver runs; (0, 0) without a driver."""

def runtime_version() -> tuple[int, int]:
    """The CUDA that this was built with."""

def architectures() -> list[int]:
    """What there is code for: 750, 800, ..."""

def ptx() -> int:
    """The architecture whose PTX newer cards compile themselves."""
