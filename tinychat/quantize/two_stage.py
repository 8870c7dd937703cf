"""A matrix in two stages of 4 bits: its rounding, and the rounding of what that leaves of it.

Together they are as exact as 8 bits; `nn/head.py` reads the second only where it can matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.grid import Grid, default_group_size
from tinychat.quantize.rtn import in_pieces

if TYPE_CHECKING:
    from tinychat.kernels import Ops

STAGE_BITS = 4


def coarse_grid(inputs: int) -> Grid:
    """What the coarse matrix is rounded to, and what that leaves of the head as well."""
    return Grid(STAGE_BITS, default_group_size(inputs))


def fine_part(ops: Ops, weight: Tensor, name: str) -> LowBitWeight:
    """What rounding to `coarse_grid` leaves of a float matrix [N, K], rounded to it again.

    The coarse matrix is made again on the way, which takes a moment; both at once would take twice
    the memory.

    Args:
        name: the tensor's name, for messages.
    Raises: CheckpointError naming the tensor if a weight is NaN, infinite or beyond float16 scales.
    """
    grid = coarse_grid(weight.shape[1])

    def rounded(rows: slice) -> LowBitWeight:
        coarse = ops.round_to_nearest(weight[rows], grid, name)
        return ops.round_to_nearest(_rest(weight[rows], coarse), grid, name)

    with _one_torch_thread():
        return in_pieces(weight, grid, rounded)


def _rest(weight: Tensor, coarse: LowBitWeight) -> Tensor:
    """weight - dequantize(coarse), float32: in one place, since a matrix of fresh memory takes
    longer to get than to fill.
    """
    rest = coarse.codes.float()
    groups = rest.view(*coarse.scales.shape, coarse.group_size)  # [rows, K/Q, Q]
    minus_scales = -coarse.scales.float()
    groups.sub_(coarse.zeros.unsqueeze(-1)).mul_(minus_scales.unsqueeze(-1))
    return rest.add_(weight)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Several would wait for each other after every piece, and at times for seconds: our own
    threads come in between. One makes the fine form of 128256 x 2048 in 0.9 s.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
