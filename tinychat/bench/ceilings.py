"""What this machine can do at best: the numbers that speeds are shares of."""

from __future__ import annotations

import time

import torch

from tinychat.kernels.dispatch import choose_card, cpu_ops

# Far larger than any cache, so that memory itself is read.
READ_BYTES = 512 << 20
CARD_READ_BYTES = 2 << 30
REPEATS = 5


def measure_ceilings(threads: int | None, device: str = "cpu") -> dict[str, float]:
    """Read bandwidth in GB/s, and on the CPU int8 operations in 10^9 a second, each the best of a
    few tries.

    Args:
        threads: of the CPU; a card takes all it has.
        device: as for `tinychat.load`.
    """
    card = choose_card(device)
    if card is not None:
        return {"read_gb_per_s": card_bandwidth(torch.device("cuda", card.index))}
    ops = cpu_ops(threads=threads)
    try:
        return {
            "read_gb_per_s": ops.read_bandwidth(READ_BYTES, REPEATS),
            "int8_gop_per_s": ops.int8_rate(REPEATS),
        }
    finally:
        ops.close()


def card_bandwidth(device: torch.device) -> float:
    """How fast a card reads, in GB/s: torch's sum of more numbers than its caches hold."""
    numbers = torch.zeros(CARD_READ_BYTES // 4, device=device)
    numbers.sum()
    best = float("inf")
    for _ in range(REPEATS):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        numbers.sum()
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return CARD_READ_BYTES / best / 1e9
