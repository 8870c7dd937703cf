"""Round-to-nearest: each group of weights gets the grid that spans its range.

No data is looked at and nothing else is tried; it is the floor that other methods are measured by.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tinychat.quantize.format import LowBitWeight
from tinychat.quantize.grid import Grid

# Rows are rounded in pieces of about this many weights: a few megabytes of float temporaries, and
# few enough pieces that a busy machine does not spend its time in torch's barriers.
_CHUNK = 1 << 20


def round_to_nearest(
    weight: Tensor, grid: Grid, name: str = "weight", limits: Tensor | None = None
) -> LowBitWeight:
    """Round a float matrix to integers with a scale and a zero point per row and group of inputs.

    Args:
        weight: [N, K] float32, float16 or bfloat16.
        grid: its group size divides K.
        name: the tensor's name, for messages.
        limits: [N, K / Q], the largest magnitude of each group; what is beyond is clipped.
    Raises:
        ArgumentError for a group size that does not fit.
        CheckpointError naming the tensor if a weight is NaN, infinite or beyond float16 scales.
    """
    width = grid.width(weight.shape[1], name)

    def rounded(rows: slice) -> LowBitWeight:
        groups = weight[rows].float().view(-1, weight.shape[1] // width, width)  # [rows, K/Q, Q]
        if limits is not None:
            most = limits[rows].unsqueeze(-1)
            groups = groups.clamp(-most, most)
        fitted, middle = grid.fit(groups, name)
        codes = grid.encode(groups, fitted, middle).flatten(1)
        scales, zeros = fitted.squeeze(-1), middle.squeeze(-1)
        return LowBitWeight(codes, scales.half(), zeros.to(torch.uint8), grid.bits, width)

    return in_pieces(weight, grid, rounded)


def in_pieces(weight: Tensor, grid: Grid, rounded: Callable[[slice], LowBitWeight]) -> LowBitWeight:
    """A matrix [N, K] rounded a piece of its rows at a time: `rounded` makes the low-bit form of
    some of them.
    """
    n, k = weight.shape
    width = grid.width(k)
    codes = torch.empty(n, k, dtype=torch.uint8)
    scales = torch.empty(n, k // width, dtype=torch.float16)
    zeros = torch.empty(n, k // width, dtype=torch.uint8)
    step = max(1, _CHUNK // k)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        piece = rounded(rows)
        codes[rows], scales[rows], zeros[rows] = piece.codes, piece.scales, piece.zeros
    return LowBitWeight(codes, scales, zeros, grid.bits, width)
