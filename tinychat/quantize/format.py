"""The canonical low-bit weight: checkpoint formats are read into it and written from it, kernels
pack from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tinychat.errors import ArgumentError

BITS = (2, 3, 4, 8)
GROUP_SIZES = (128, 64, 32)
"""Group sizes that every kernel runs, beside the whole row; the first dividing K is the default."""
_ONE_THREAD = 32767


@dataclass(frozen=True)
class LowBitWeight:
    """A [N, K] matrix in integers: w[n, k] = (codes[n, k] - zeros[n, g]) · scales[n, g].

    The group g of input k is k // group_size, unless `order` says otherwise.

    Attributes:
        codes: [N, K] uint8, each below 2**bits.
        scales: [N, ceil(K / group_size)] float16.
        zeros: [N, ceil(K / group_size)] uint8, each below 2**bits.
        bits: 2, 3, 4 or 8.
        group_size: Q; K for one group a row.
        order: [K] int32, a permutation: column j of codes belongs to input order[j], and the group
            of column j is j // group_size (act-order). None for the natural order.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bits: int
    group_size: int
    order: Tensor | None = None

    def to(self, device: torch.device) -> LowBitWeight:
        """The same weight in the memory of a device; its order stays, as kernels are told it
        apart.
        """
        codes, scales, zeros = (t.to(device) for t in (self.codes, self.scales, self.zeros))
        return replace(self, codes=codes, scales=scales, zeros=zeros)


def dequantize(weight: LowBitWeight) -> Tensor:
    """The matrix that the integers stand for, [N, K] float32, its inputs in natural order."""
    k = weight.codes.shape[1]
    scales, zeros = (
        t.float().repeat_interleave(weight.group_size, dim=1)[:, :k]
        for t in (weight.scales, weight.zeros)
    )
    matrix = (weight.codes.float() - zeros).mul_(scales)
    if weight.order is None:
        return matrix
    natural = torch.empty_like(matrix)
    natural[:, weight.order.long()] = matrix
    return natural


def alike(weights: Sequence[LowBitWeight]) -> bool:
    """Whether `concatenate` takes these weights, of which there is at least one."""
    kinds = {(w.codes.shape[1], w.bits, w.group_size) for w in weights}
    return len(kinds) == 1 and all(_same_order(w.order, weights[0].order) for w in weights)


def concatenate(weights: Sequence[LowBitWeight]) -> LowBitWeight:
    """Stack matrices that read the same input into one, along N.

    Raises: ArgumentError if K, bits, group size or the order of the inputs differ.
    """
    if not weights:
        raise ArgumentError("nothing to concatenate: the list of low-bit weights is empty")
    kinds = {(w.codes.shape[1], w.bits, w.group_size) for w in weights}
    if len(kinds) > 1:
        raise ArgumentError(
            "low-bit weights to be concatenated differ in (K, bits, group_size): "
            f"{sorted(kinds)}; leave them apart"
        )
    order = weights[0].order
    if not all(_same_order(w.order, order) for w in weights):
        raise ArgumentError(
            "low-bit weights to be concatenated have their inputs in different orders; "
            "leave them apart"
        )
    if len(weights) == 1:
        return weights[0]
    return LowBitWeight(
        codes=torch.cat([w.codes for w in weights]),
        scales=torch.cat([w.scales for w in weights]),
        zeros=torch.cat([w.zeros for w in weights]),
        bits=weights[0].bits,
        group_size=weights[0].group_size,
        order=order,
    )


def all_finite(scales: Tensor) -> bool:
    """Whether there is no infinity and no NaN.

    In pieces that torch looks through in one thread: several have barriers, at which a busy machine
    loses seconds over milliseconds.
    """
    flat = scales.flatten()
    starts = range(0, len(flat), _ONE_THREAD)
    return all(bool(torch.isfinite(flat[i : i + _ONE_THREAD]).all()) for i in starts)


def _same_order(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
