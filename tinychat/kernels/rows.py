"""How the cache keeps the row of one position and head: its numbers in a float type, or their
rounding to int8 with the scale behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE_BYTES = 4  # a float32


def row_width(head_dim: int, dtype: torch.dtype) -> int:
    """Elements of a row of D numbers."""
    return head_dim + SCALE_BYTES if dtype == torch.int8 else head_dim


def to_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[..., D] float32 -> [..., `row_width`] of the dtype; a row of int8 spans its largest
    magnitude, and one that holds no number or an infinity is all NaN.
    """
    if dtype != torch.int8:
        return x.to(dtype)
    largest = x.abs().amax(dim=-1, keepdim=True)
    scale = torch.where(largest.isfinite(), largest / 127, torch.nan)
    codes = torch.where(scale > 0, x * (127 / largest), 0).round().to(torch.int8)
    return torch.cat([codes, scale.contiguous().view(torch.int8)], dim=-1)


def from_rows(rows: Tensor) -> Tensor:
    """The inverse of `to_rows`, but for its rounding: float32."""
    if rows.dtype != torch.int8:
        return rows.float()
    codes, scale = rows[..., :-SCALE_BYTES], rows[..., -SCALE_BYTES:]
    return codes.float() * scale.contiguous().view(torch.float32)
