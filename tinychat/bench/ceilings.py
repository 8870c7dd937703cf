"""What this machine can do at best: the numbers that speeds are shares of."""

from __future__ import annotations

from tinychat.kernels import _cpu
from tinychat.kernels.cores import usable_cores

# Far larger than any cache, so that memory itself is read.
READ_BYTES = 512 << 20
READ_REPEATS = 5


def measure_ceilings(threads: int | None) -> dict[str, float]:
    """Read bandwidth in GB/s, the best of a few passes over memory with so many threads."""
    context = _cpu.Context("", threads or usable_cores())
    try:
        return {"read_gb_per_s": context.read_bandwidth(READ_BYTES, READ_REPEATS)}
    finally:
        context.close()
