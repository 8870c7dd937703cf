"""What this machine can do at best: the numbers that speeds are shares of."""

from __future__ import annotations

from tinychat.kernels.dispatch import select

# Far larger than any cache, so that memory itself is read.
READ_BYTES = 512 << 20
REPEATS = 5


def measure_ceilings(threads: int | None) -> dict[str, float]:
    """Read bandwidth in GB/s and int8 operations in 10^9 a second, each the best of a few tries
    with so many threads.
    """
    ops = select("cpu", threads=threads)
    try:
        return {
            "read_gb_per_s": ops.read_bandwidth(READ_BYTES, REPEATS),
            "int8_gop_per_s": ops.int8_rate(REPEATS),
        }
    finally:
        ops.close()
