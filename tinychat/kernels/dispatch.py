"""Who runs the ops: chosen once per model; where nobody can, the error says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinychat.errors import ArgumentError, TinyChatError

if TYPE_CHECKING:
    from tinychat.kernels.cpu import CpuOps

DEVICES = ("auto", "cpu")


def select(device: str = "auto", isa: str | None = None, threads: int | None = None) -> CpuOps:
    """The ops that a model runs with; the caller closes them.

    Args:
        device: "cpu", or "auto" for the best there is.
        isa: an instruction set by name, for tests; None for the best that this CPU runs.
        threads: size of the thread pool; None for one a usable core.
    Raises: ArgumentError for an unknown device, isa or number of threads; TinyChatError where no
        kernels can run.
    """
    if device not in DEVICES:
        raise ArgumentError(f"device={device!r}; expected one of {', '.join(DEVICES)}")
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
