"""The grid that a group of weights is put on: the step between two codes and the code of zero.

Every method ends here. They differ in the weights that they bring and in the order of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.errors import ArgumentError, CheckpointError
from tinychat.quantize.format import BITS, GROUP_SIZES, all_finite

WHOLE_ROW = -1
# Smallest positive float16; a group narrower than this times its levels is rounded on that grid.
_TINIEST = 2.0**-24


def default_group_size(k: int) -> int:
    """The largest of 128, 64 and 32 that divides K, else K: one group for the whole row."""
    return next((group for group in GROUP_SIZES if k % group == 0), k)


def check_scales(scales: Tensor, name: str) -> None:
    """Raise CheckpointError naming the matrix if a weight was NaN, infinite or beyond float16
    scales, so that a scale is.
    """
    if not all_finite(scales):
        raise CheckpointError(
            f"{name} has weights that are NaN, infinite or beyond what float16 scales can span; "
            "the checkpoint is damaged"
        )


@dataclass(frozen=True)
class Grid:
    """How fine the codes are and which weights share a step.

    Attributes:
        bits: 2, 3, 4 or 8.
        group_size: inputs that share a scale; -1 for the whole row.
        symmetric: the zero point is 2**(bits - 1) everywhere, else each group has its own.
    Raises: ArgumentError for what cannot be.
    """

    bits: int = 4
    group_size: int = 128
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise ArgumentError(f"bits={self.bits}: expected 2, 3, 4 or 8")
        if self.group_size < 1 and self.group_size != WHOLE_ROW:
            raise ArgumentError(
                f"group_size={self.group_size}: expected 128, 64, 32, or -1 for whole rows"
            )

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def width(self, k: int, name: str = "weight") -> int:
        """Inputs in a group of a row of K.

        Raises: ArgumentError naming the matrix if its K is no multiple of the group.
        """
        if self.group_size == WHOLE_ROW:
            return k
        if k % self.group_size:
            raise ArgumentError(
                f"group_size={self.group_size} does not divide K={k} of {name}; "
                f"use {default_group_size(k)}"
            )
        return self.group_size

    def fit(self, groups: Tensor, name: str = "weight") -> tuple[Tensor, Tensor]:
        """The grid that spans each group.

        The range includes 0, so that the zero point is a code; with zero points a group of one
        repeated value, and so a group of zeros, is exact to float16.

        Args:
            groups: [..., Q] float32.
        Returns: scales [..., 1] float32, representable in float16; zeros [..., 1] float32, integers
            in 0..top.
        Raises: CheckpointError naming the matrix if a weight is NaN, infinite or beyond float16
            scales.
        """
        least, most = torch.aminmax(groups, dim=-1, keepdim=True)
        low, high = least.clamp(max=0.0), most.clamp(min=0.0)
        if self.symmetric:
            middle = 2 ** (self.bits - 1)
            spans = torch.maximum(high / (middle - 1), -low / middle)
        else:
            # One repeated value c is (1 - 0)·c or (0 - 1)·|c|: its range is one step, not all.
            spans = (high - low) / torch.where(least == most, 1, self.top)
        # The codes follow from the scale as it is stored, or its rounding would be one more error.
        scales = spans.clamp(min=_TINIEST).half().float()
        check_scales(scales, name)
        if self.symmetric:
            return scales, torch.full_like(scales, middle)
        return scales, (-low / scales).round_().clamp_(max=self.top)

    def encode(self, weights: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
        """The nearest codes, float32; what lies outside the grid gets its end."""
        return (weights / scales).round_().add_(zeros).clamp_(0, self.top)

    def round(self, groups: Tensor, name: str = "weight") -> Tensor:
        """[..., Q] weights -> the values that their codes will stand for. Raises: as `fit`."""
        scales, zeros = self.fit(groups, name)
        return self.encode(groups, scales, zeros).sub_(zeros).mul_(scales)
