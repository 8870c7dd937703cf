"""Who runs the ops: chosen once per model; where nobody can, the error says why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinychat.errors import ArgumentError, TinyChatError

if TYPE_CHECKING:
    from tinychat.kernels import Ops
    from tinychat.kernels.cards import Card
    from tinychat.kernels.cpu import CpuOps

DEVICES = "auto, cpu, cuda or cuda:N"
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device(device: object) -> None:
    """Raise ArgumentError unless it is how a device is called, there or not."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise ArgumentError(f"device={device!r} is not {DEVICES}")


def select(device: str = "auto", isa: str | None = None, threads: int | None = None) -> Ops:
    """The ops that a model runs with; the caller closes them.

    Args:
        device: "cpu"; "cuda" or "cuda:1" for a card; "auto" for the first card, or the CPU where
            there is none that can be used.
        isa: an instruction set by name, for tests, which asks for the CPU; None for the best that
            this one runs.
        threads: size of the CPU's thread pool; None for one a usable core.
    Raises: ArgumentError for an unknown device, isa or number of threads, or a card that is not
        there; TinyChatError where no kernels can run.
    """
    check_device(device)
    card = choose_card(device) if isa is None else None
    host = cpu_ops(isa, threads)
    if card is None:
        return host
    from tinychat.kernels.cuda import CudaOps
    from tinychat.kernels.cuda_device import CudaDevice

    return CudaOps(CudaDevice(card), host)


def choose_card(device: str) -> Card | None:
    """The card that a device stands for; None for the CPU.

    Raises: ArgumentError where a card is asked for that cannot be used, with the reason.
    """
    if device == "cpu":
        return None
    from tinychat.kernels import cards

    number = device.partition(":")[2]
    index = int(number) if number else None
    reason = cards.why_not(index)
    if not reason:
        return cards.choose(index)
    if device == "auto":
        return None
    raise ArgumentError(f"device={device!r} cannot be used: {reason}")


def cpu_ops(isa: str | None = None, threads: int | None = None) -> CpuOps:
    """The ops on the CPU; arguments and errors as of `select`."""
    try:
        from tinychat.kernels.cpu import CpuOps
    except ImportError as error:
        raise TinyChatError(
            f"no kernels can run here; cpu: the native extension does not load ({error}); "
            "build it with `pip install .`"
        ) from error
    return CpuOps(isa=isa, threads=threads)


def cpu_isas() -> dict[str, str]:
    """Instruction sets we have code for on this architecture, best first.

    Returns: name -> why it cannot run here, or "".
    """
    from tinychat.kernels import _cpu

    return dict(_cpu.isas())
