"""Round-to-nearest: each group of weights gets the scale and zero point that span its range.

No data is looked at and nothing else is tried; it is the floor that other methods are measured by.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import GROUP_SIZES, LowBitWeight

BITS = (2, 3, 4, 8)
# Rows are rounded in pieces of about this many weights: a few megabytes of float temporaries, and
# few enough pieces that a busy machine does not spend its time in torch's barriers.
_CHUNK = 1 << 20
# Smallest positive float16; a group narrower than this times its levels is rounded on that grid.
_TINIEST = 2.0**-24


def default_group_size(k: int) -> int:
    """The largest of 128, 64 and 32 that divides K, else K: one group for the whole row."""
    return next((group for group in GROUP_SIZES if k % group == 0), k)


def round_to_nearest(
    weight: Tensor, bits: int, group_size: int, name: str = "weight"
) -> LowBitWeight:
    """Round a float matrix to integers with a zero point per row and group of inputs.

    The range of a group includes 0, so that the zero point is a code; a group of one repeated
    value, and so a group of zeros, is exact to float16.

    Args:
        weight: [N, K] float32, float16 or bfloat16.
        bits: 2, 3, 4 or 8.
        group_size: Q, a divisor of K.
        name: the tensor's name, for messages.
    Raises:
        ArgumentError for bits or a group size that cannot be.
        CheckpointError naming the tensor if a weight is NaN, infinite or beyond float16 scales.
    """
    n, k = weight.shape
    if bits not in BITS:
        raise ArgumentError(f"bits={bits}: expected 2, 3, 4 or 8")
    if group_size < 1 or k % group_size:
        raise ArgumentError(
            f"group_size={group_size} does not divide K={k} of {name}; use {default_group_size(k)}"
        )
    codes = torch.empty(n, k, dtype=torch.uint8)
    scales = torch.empty(n, k // group_size, dtype=torch.float16)
    zeros = torch.empty(n, k // group_size, dtype=torch.uint8)
    step = max(1, _CHUNK // k)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        groups = weight[rows].float().view(-1, group_size)
        chunk = _round_groups(groups, 2**bits - 1, name)
        for out, part in zip((codes, scales, zeros), chunk, strict=True):
            out[rows] = part.view(-1, out.shape[1])
    return LowBitWeight(codes, scales, zeros, bits, group_size)


def _round_groups(groups: Tensor, top: int, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """[M, Q] float32 -> codes [M, Q], scales [M, 1], zeros [M, 1], codes and zeros in 0..top."""
    least, most = torch.aminmax(groups, dim=1, keepdim=True)
    low, high = least.clamp(max=0.0), most.clamp(min=0.0)
    # One repeated value c is (1 - 0)·c or (0 - 1)·|c|: its range is one step instead of all.
    steps = torch.where(least == most, 1, top)
    # The codes follow from the scale as it is stored, or its rounding would be one more error.
    scales = ((high - low) / steps).clamp(min=_TINIEST).half()
    if not bool(torch.isfinite(scales).all()):
        raise CheckpointError(
            f"{name} has weights that are NaN, infinite or beyond what float16 scales can span; "
            "the checkpoint is damaged"
        )
    inverse = scales.float().reciprocal()
    zeros = (-low * inverse).round_().clamp_(max=top)
    codes = (groups * inverse).round_().add_(zeros).clamp_(0, top)
    return codes.to(torch.uint8), scales, zeros.to(torch.uint8)
